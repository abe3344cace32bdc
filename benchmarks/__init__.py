"""What is timed, against what, in turns in one run. Ratios are the result; milliseconds are this machine's."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1, as an argument of a command."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number of at least 1")
    return number
