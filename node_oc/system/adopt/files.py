"""An adopted system on disk: safetensors with the model's own keys, and JSON that says how to make it again."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from node_oc import store
from node_oc.errors import ConfigError, ShapeError, StoreError
from node_oc.system.adopt.adopted import AdoptedSystem
from node_oc.system.adopt.source import adopted_from


def save_system(system: AdoptedSystem, stem: str | Path) -> None:
    """Write ``stem.safetensors``, with the model's own keys, and ``stem.json``.

    Raises:
        ConfigError: a system that was adopted without ``source``.
        StoreError: a file that cannot be written.
    """
    if system.source is None:
        raise ConfigError("an adopted model", got="one that your own code made", expected="source: how to make it",
                          do="Adopt it with source=oc.source_of('my_module:make_model', [2, 3, 32, 32]).")  # fmt: skip
    store.save_model(stem, system.state_dict(), {"system": system.spec()})


def load_system(stem: str | Path, model: nn.Module | None = None) -> AdoptedSystem:
    """Read it back, on the CPU, in evaluation mode. Nothing in the files is executed.

    Args:
        stem: path without ending.
        model: the whole model as it was adopted, its weights do not matter; made by itself for torchvision:, timm: and
            hf:.

    Raises:
        StoreError: a file that is missing, truncated or altered, or whose tensors are not those of the model.
    """
    tensors, meta = store.load_model(stem)
    try:
        spec = dict(meta["system"])
        if spec.pop("kind") != "adopted":
            raise KeyError("kind")
        dtype = next((t.dtype for t in tensors.values() if t.is_floating_point()), None)
        system = adopted_from(**spec, made=model, dtype=dtype)
        system.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ShapeError) as error:
        raise StoreError(str(stem), got=str(error).splitlines()[0], expected="a system written by save_system",
                         do="Give the model that was adopted. Other files want load_model.") from error  # fmt: skip
    return system.eval()
