"""A model with its discrete weights packed: safetensors + JSON with a checksum, and back to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from node_oc import store
from node_oc.errors import ConfigError, StoreError
from node_oc.inference import Model
from node_oc.packing.bits import Packed, pack, unpack
from node_oc.system.discrete import DiscreteLayer

PACKED = "packed"  # in the description: name of a tensor -> what its bits are


def discrete_layers(module: nn.Module) -> Iterator[tuple[str, DiscreteLayer]]:
    """The discrete layers of a module, by name."""
    return ((name, layer) for name, layer in module.named_modules() if isinstance(layer, DiscreteLayer))


def packed_weights(model: nn.Module) -> dict[str, Packed]:
    """The weights of every discrete layer of a module in bits, by their name in its ``state_dict``."""
    tensors = model.state_dict()  # a layer that is being trained writes its weights down when it is asked for them
    keys = {f"{name}.weight": layer.values for name, layer in discrete_layers(model)}
    return {key: pack(tensors[key], values, key) for key, values in keys.items()}


def save_packed(model: Model, stem: str | Path) -> list[Path]:
    """Write ``stem.safetensors`` and ``stem.json``: the whole model, its discrete weights in the fewest bits.

    Args:
        model: with at least one discrete layer.
        stem: path without ending.

    Returns:
        The two files; :func:`node_oc.load_model` reads them like any saved model.

    Raises:
        ConfigError: no layer of the model is discrete, or weights outside of their set.
        StoreError: a file cannot be written.
    """
    packed = packed_weights(model)
    if not packed:
        raise ConfigError("model to pack", got="no discrete layers in it", expected="weights in {-1, 1} or {-1, 0, 1}",
                          do="Save it as it is: node_oc.save_model; or train one, node-oc run digits-ternary."
                          )  # fmt: skip
    tensors = {**model.state_dict(), **{key: each.data for key, each in packed.items()}}
    said = {key: each.description() for key, each in packed.items()}
    store.save_model(stem, tensors, {**model.description(), PACKED: said})
    return [Path(f"{stem}.safetensors"), Path(f"{stem}.json")]


def load_packed(stem: str | Path) -> Model:
    """Read what :func:`save_packed` wrote: the same model, to the bit.

    Args:
        stem: path without ending.

    Raises:
        StoreError: a file that is missing, truncated, altered, or of a newer version; bits that no weights have, by the
            name of their layer; a model that is not packed.
    """
    tensors, description = store.load_model(stem)
    if PACKED not in description:
        raise StoreError(str(stem), got="a model that is not packed", expected="one that node-oc pack wrote",
                         do="Read it with node_oc.load_model.")  # fmt: skip
    return Model.restored(unpacked(tensors, description, stem), description, stem)


def unpacked(tensors: Mapping[str, Tensor], description: Mapping[str, Any], stem: str | Path) -> dict[str, Tensor]:
    """The tensors of a saved model with its packed weights, if it has any, as int8.

    Args:
        tensors: by name, as they are in the file.
        description: of the same file.
        stem: of the files, for errors.

    Raises:
        StoreError: bits that no weights have, by the name of their layer.
    """
    result = dict(tensors)
    for key, packed in read_packed(tensors, description, stem).items():
        result[key] = unpack(packed, key)
    return result


def read_packed(tensors: Mapping[str, Tensor], description: Mapping[str, Any], stem: str | Path) -> dict[str, Packed]:
    """The packed weights of a file, by name, their bits not looked at; none where it is not packed.

    Args:
        tensors: by name.
        description: of the same file.
        stem: of the files, for errors.

    Raises:
        StoreError: a description that is not one of packed weights.
    """
    try:
        return {
            key: Packed(str(said["values"]), str(said["coding"]), tuple(map(int, said["shape"])), int(said["nonzero"]),
                        tensors[key])
            for key, said in description.get(PACKED, {}).items()
        }  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(str(stem), got=f"packed weights without {error}", expected="a model as node_oc packed it",
                         do="Restore the file from a copy, or pack the model again.") from error  # fmt: skip
