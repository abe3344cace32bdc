"""Streams of random numbers by name: what one draws changes no other."""

from __future__ import annotations

from hashlib import sha256

import torch


def derived_seed(seed: int, *names: object) -> int:
    """A seed 0..2**63-1 that depends on another one and on names, and on nothing that ran before."""
    digest = sha256("/".join(str(part) for part in (seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def derived_generator(seed: int, *names: object) -> torch.Generator:
    """A generator on the CPU whose stream depends on the seed and on the names."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))
