"""`--driver` and `--keep`: short forms of training.driver and training.driver_keep, and the noise that they name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from node_oc.discretization.noise import Noise


def driver_names() -> tuple[str, ...]:
    """The names of the drivers, time first."""
    from node_oc.config import KEYS

    return get_args(KEYS["training.driver"].annotation)


def driver_changes(driver: str | None, keep: float | None, timed: bool = True) -> dict[str, Any]:
    """Changes of the configuration. Raises ConfigError on an unknown name, with the nearest one, or a probability.

    Args:
        driver: its name.
        keep: a probability in (0, 1].
        timed: whether time may be proposed.
    """
    from node_oc.errors import ConfigError

    if driver is not None and driver not in (names := driver_names()):
        names = names if timed else names[1:]
        near = get_close_matches(driver, names, 1, 0.5)
        raise ConfigError("--driver", got=repr(driver), expected=", ".join(names),
                          do=f"Did you mean {near[0]}?" if near else "Name one of these.")  # fmt: skip
    if keep is not None and not 0 < keep <= 1:
        raise ConfigError("--keep", got=keep, expected="a probability in (0, 1]",
                          do="Give the share of the branches, or of their entries, that stays.")  # fmt: skip
    given = {"training.driver": driver, "training.driver_keep": keep}
    return {key: value for key, value in given.items() if value is not None}


def named_noise(driver: str | None, keep: float | None) -> Noise | None:
    """The noise that two options name, as a training would have it; None where neither is given.

    Raises:
        ConfigError: an unknown name, time, a probability outside (0, 1], or one without a driver that has it.
    """
    from node_oc.config import TrainingSection
    from node_oc.errors import ConfigError
    from node_oc.training.driver import noise_of

    driver_changes(driver, keep, timed=False)
    if driver == "time":
        raise ConfigError("--driver", got="time, which has no noise", expected=", ".join(driver_names()[1:]),
                          do="Name a noise, or leave it out.")  # fmt: skip
    if keep is not None and driver in (None, "shake_shake"):
        beside = f"with {driver}" if driver else "without a driver"
        raise ConfigError("--keep", got=f"{keep:g} {beside}", expected="a driver that has a keep probability",
                          do="Add --driver, or leave it out.")  # fmt: skip
    if driver is None:
        return None
    return noise_of(TrainingSection.model_validate({"driver": driver, "driver_keep": 0.8 if keep is None else keep}))
