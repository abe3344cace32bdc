"""Trees of tensors and numbers, such as the state of an optimiser, as named tensors and a JSON skeleton."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from node_oc.store.files import SCALARS, foreign, join, store_error

_DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    *(torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
}  # safetensors would write some more that it cannot read


def flatten(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Splits a tree into named tensors and a JSON skeleton, from which `unflatten` builds it again.

    Args:
        tree: dicts (keys None, bool, int, float or str), lists, tuples, None, bool, int, float (inf and nan
            too), str and tensors. Subclasses come back as the plain type; a tensor that occurs twice comes
            back as two.

    Returns:
        Tensors named by their place ("optimizer.state.0.exp_avg"), contiguous copies on the CPU; and the
        skeleton, which equals the tree wherever that is JSON already, with {"$tag": ...} elsewhere.

    Raises:
        StoreError: something else in the tree, named by its place.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, strip(tree, "", tensors)


def unflatten(tensors: Mapping[str, Tensor], skeleton: Any) -> Any:
    """The tree that `flatten` split. Raises StoreError on a missing tensor or a skeleton that is none."""
    if isinstance(skeleton, list):
        return [unflatten(tensors, item) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    tag = next(iter(skeleton), "")
    if not tag.startswith("$"):
        return {key: unflatten(tensors, item) for key, item in skeleton.items()}
    value = skeleton[tag]
    try:
        if tag == "$tensor":
            return tensors[value]
        if tag == "$float":
            return float(value)
        if tag == "$tuple":
            return tuple(unflatten(tensors, item) for item in value)
        if tag == "$dict":
            return {unflatten({}, key): unflatten(tensors, item) for key, item in value}
    except (KeyError, TypeError, ValueError) as error:
        raise store_error("skeleton", f"{tag} {value!r:.40}", "what flatten returned") from error
    raise store_error("skeleton", tag, "$tensor, $float, $tuple or $dict")


def copy_of(tensor: Tensor, name: str) -> Tensor:
    """A contiguous copy on the CPU, apart from graph and shared storage."""
    if tensor.dtype not in _DTYPES or tensor.layout != torch.strided or tensor.is_meta:
        got = f"{tensor.dtype}, {tensor.layout}, {tensor.device}"
        raise store_error(f"tensor {name}", got, "a dense tensor of a safetensors type", "Convert it first.")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    return plain.clone(memory_format=torch.contiguous_format)


def strip(tree: Any, place: str, tensors: dict[str, Tensor] | None) -> Any:
    """The skeleton of `tree`; its tensors go to `tensors`, or are refused where that is None."""
    if isinstance(tree, Tensor) and tensors is not None:
        # JSON can write a lone surrogate of a key, a tensor name in safetensors cannot.
        name = (place or "tensor").encode("utf-8", "backslashreplace").decode()
        while name in tensors or name == "__metadata__":
            name += "~"
        tensors[name] = copy_of(tree, name)
        return {"$tensor": name}
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"$float": repr(float(tree))}
    if isinstance(tree, SCALARS):
        return tree
    if isinstance(tree, (list, tuple)):
        items = [strip(item, join(place, i), tensors) for i, item in enumerate(tree)]
        return items if isinstance(tree, list) else {"$tuple": items}
    if isinstance(tree, dict) and all(isinstance(key, SCALARS) for key in tree):
        pairs: list[Any] = [
            [strip(key, place, None), strip(value, join(place, key), tensors)] for key, value in tree.items()
        ]
        plain = all(isinstance(key, str) and not key.startswith("$") for key in tree)
        return dict(pairs) if plain else {"$dict": pairs}
    raise foreign(tree, place)
