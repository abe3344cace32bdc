"""Noise as JSON and back: what a model was trained with travels with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from node_oc.discretization.law import Gaussian, Law, TwoPoint, Uniform
from node_oc.discretization.noise import Noise
from node_oc.errors import ConfigError, StoreError

LAWS: dict[str, type[Law]] = {"two_point": TwoPoint, "gaussian": Gaussian, "uniform": Uniform}
FIELDS = ("name", "per", "root", "diffuses", "fresh", "decays")


def noise_spec(noise: Noise) -> dict[str, Any]:
    """JSON-able description of a noise, without its draws.

    Raises:
        StoreError: a law of one's own, which a file cannot describe.
    """
    kinds = {kind: name for name, kind in LAWS.items()}
    for law in noise.laws:
        if type(law) not in kinds:
            raise StoreError(f"noise {noise.name}", got=f"the law {type(law).__name__}",
                             expected=f"one that a file can describe: {', '.join(LAWS)}",
                             do="Leave the noise out of the file, and give it again where it is used.")  # fmt: skip
    laws = [{"kind": kinds[type(law)], **asdict(law)} for law in noise.laws]  # type: ignore[call-overload]
    return {**{name: getattr(noise, name) for name in FIELDS}, "laws": laws}


def noise_from(spec: dict[str, Any]) -> Noise:
    """The noise of a description. Raises StoreError where it is not one of this version."""
    try:
        laws = tuple(LAWS[law["kind"]](**{k: v for k, v in law.items() if k != "kind"}) for law in spec["laws"])
        return Noise(laws=laws, **{name: spec[name] for name in FIELDS})
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise StoreError("description of a noise", got=f"{type(error).__name__}: {error}",
                         expected=f"laws of {', '.join(LAWS)}, and {', '.join(FIELDS)}",
                         do="The file is damaged, or of another version of node_oc.") from error  # fmt: skip
