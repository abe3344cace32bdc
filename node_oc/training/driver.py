"""The driver of a training: from a configuration, drawn anew for every update."""

from __future__ import annotations

import math

from node_oc.config import TrainingSection
from node_oc.discretization.amplitude import with_signs
from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.drivers import branch_dropout, gaussian, shake_shake, stochastic_depth, two_point
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.errors import ConfigError
from node_oc.seeds import derived_generator
from node_oc.trajectory.neural_sde import NeuralSDE


def noise_of(options: TrainingSection) -> Noise | None:
    """The noise that the options ask for; None for time.

    Stochastic depth is the inverted one, so that a step without noise is the mean of a noisy one.

    Raises:
        ConfigError: an option of another driver.
    """
    for name, plain, drivers in (
        ("driver_decay", False, ("stochastic_depth",)), ("driver_p", 0.5, ("two_point",)),
        ("driver_per", None, ("branch_dropout", "two_point", "gaussian")),
    ):  # fmt: skip
        if getattr(options, name) != plain and options.driver not in drivers:
            raise ConfigError(f"training.{name}", got=f"{getattr(options, name)} with training.driver={options.driver}",
                              expected=" or ".join(drivers), do="Leave it out.")  # fmt: skip
    keep, per, fresh = options.driver_keep, options.driver_per or "unit", options.driver_fresh
    deviation = math.sqrt((1 - keep) / keep)
    if options.driver == "stochastic_depth":
        return stochastic_depth(keep, decay=options.driver_decay, inverted=True, fresh=fresh)
    if options.driver == "branch_dropout":
        return branch_dropout(keep, per=per, fresh=fresh)
    if options.driver == "two_point":
        return two_point(deviation, p=options.driver_p, per=per, fresh=fresh)
    if options.driver == "gaussian":
        return gaussian(deviation, per=per, fresh=fresh)
    return shake_shake(fresh=fresh) if options.driver == "shake_shake" else None


def driving(options: TrainingSection, network: Network) -> Noise | None:
    """What draws the noise of a training: the driver of the options, or the neural SDE itself; None for time.

    Raises:
        ConfigError: as of :func:`trainable`; or options that a neural SDE excludes.
    """
    if not isinstance(network, NeuralSDE):
        noise = noise_of(options)
        return None if noise is None else trainable(noise, network)
    for name, plain in (("solver", "table"), ("compile", False), ("gradient_checkpointing", False), ("driver", "time")):
        if getattr(options, name) != plain:
            raise ConfigError(f"training.{name}", got=f"{getattr(options, name)} with a neural SDE",
                              expected=f"{plain}: it has noise and a solver of its own",
                              do="Leave the option out.")  # fmt: skip
    return network.noise


def trainable(noise: Noise, network: Network) -> Noise:
    """The noise on this network, if its mean is the network itself.

    Raises:
        ConfigError: it is not, so that the network alone would not be what is trained, or the system cannot take it.
    """
    noise = noise.on(network.system)
    off = next((k for k in range(network.depth) if not math.isclose(noise.mean(k), 1)), None)
    if off is not None:
        raise ConfigError(f"noise {noise.name}", got=f"increments of mean {noise.mean(off):g} h in step {off}",
                          expected="mean h, so that the network without noise is the mean of the noisy one",
                          do="Use stochastic_depth(p, inverted=True).")  # fmt: skip
    return noise


def drawn(noise: Noise | None, seed: int, index: int, rows: tuple[int, int, int] | None) -> Driver:
    """The driver of one update: a function of seed and update, so that a resumed training meets the same noise.

    Args:
        noise: None for time.
        seed: of the training.
        index: of the update.
        rows: which samples of the whole batch are on this device, see :class:`node_oc.discretization.noise.Source`.
    """
    return TIME if noise is None else noise.drawn(derived_generator(seed, "driver", index), rows)


def probing(noise: Noise, seed: int, index: int, rows: tuple[int, int, int] | None) -> Noise:
    """The signs with which one update estimates what the noise adds to J; arguments as of :func:`drawn`."""
    return with_signs(noise).drawn(derived_generator(seed, "probes", index), rows)
