"""Checksummed safetensors: a file that was truncated or altered is refused, never loaded as something else.

Tensors come back on the CPU.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as _decode
from safetensors.torch import save as _encode
from torch import Tensor

from node_oc.store.files import dump_json, read_bytes, read_json, store_error, write_atomic
from node_oc.store.tree import copy_of, strip, unflatten

FORMAT = 1
"""Version of the files written here; files of a newer version are refused."""

_MARK = b'"sha256":"'
_BLANK = "0" * 64  # stands in the header for the checksum while the checksum is computed


def save(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes tensors and meta as one safetensors file, so that kill -9 cannot part them.

    The header holds `format`, `meta` and a SHA-256 over every byte of the file but the checksum's own.

    Args:
        path: the file; by custom it ends in .safetensors.
        tensors: dense tensors of a safetensors type; shared and strided ones are copied apart.
        meta: a tree as in `flatten`, without tensors; it comes back exactly, inf, nan and tuples too.

    Raises:
        StoreError: a tensor or a value that cannot be stored, or a file that cannot be written.
    """
    write_atomic(path, _pack(path, tensors, strip(dict(meta), "meta", None)))


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save` wrote. Raises StoreError on a missing, truncated, altered, foreign or newer file."""
    return _unpack(path, read_bytes(path))


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of any safetensors file, ours or not. Raises StoreError where it is missing or of another format."""
    try:
        return dict(_decode(read_bytes(path)))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        do = "Write one with safetensors.torch.save_model: pickled files are not read."
        raise store_error(path, f"no tensors that can be read ({error})", "a safetensors file", do) from error


def save_model(stem: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes an export: stem.safetensors as `save` does, then stem.json with its SHA-256 and meta for people.

    Killed between the two, the pair does not match and `load_model` refuses it. Arguments and errors as in
    `save`; any safetensors reader opens the tensors.
    """
    weights, description = _pair(stem)
    plain = strip(dict(meta), "meta", None)
    data = _pack(weights, tensors, plain)
    write_atomic(weights, data)
    record = {"format": FORMAT, "sha256": hashlib.sha256(data).hexdigest(), "meta": plain}
    write_atomic(description, dump_json(record, description))


def load_model(stem: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_model` wrote. Raises StoreError as `load`, and when the two files do not match."""
    weights, description = _pair(stem)
    record = read_json(description)
    if not isinstance(record, dict):
        raise store_error(description, "JSON of another kind")
    _check_version(description, record.get("format"))
    data = read_bytes(weights)
    if hashlib.sha256(data).hexdigest() != record.get("sha256"):
        raise store_error(weights, f"a file that does not match {description.name}")
    tensors, meta = _unpack(weights, data)
    # Compared as text, since 1, 1.0 and true are equal in Python.
    if dump_json(record.get("meta"), description) != dump_json(strip(meta, "meta", None), description):
        raise store_error(description, f"another meta than in {weights.name}")
    return tensors, meta


def _pack(path: str | Path, tensors: Mapping[str, Tensor], meta: Any) -> bytearray:
    """The bytes of a safetensors file; the same content gives the same bytes."""
    if "__metadata__" in tensors:
        raise store_error(path, "a tensor named __metadata__", "another name", "Rename it; this one is taken.")
    copies = {name: copy_of(tensor, name) for name, tensor in tensors.items()}
    try:
        raw = _encode(copies)
    except (ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise store_error(path, error, "tensors that safetensors can hold", "Convert them.") from error
    size = int.from_bytes(raw[:8], "little")
    own = {"format": str(FORMAT), "sha256": _BLANK, "meta": dump_json(meta, path, None).decode()}
    # safetensors orders metadata at random; our own header puts the checksum at a place that load can find.
    full = {"__metadata__": own, **json.loads(raw[8 : 8 + size])}
    header = json.dumps(full, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the format wants tensors to start at a multiple of 8
    data = bytearray(len(header).to_bytes(8, "little") + header + raw[8 + size :])
    at = data.index(_MARK) + len(_MARK)
    data[at : at + len(_BLANK)] = _digest(data, at).encode()
    return data


def _unpack(path: str | Path, data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Checks the bytes of a file, then reads them."""
    try:
        size = int.from_bytes(data[:8], "little")
        own = json.loads(data[8 : 8 + size])["__metadata__"]
        version, meta, digest = (str(own[key]) for key in ("format", "meta", "sha256"))
        at = data.index(_MARK + digest.encode(), 8, 8 + size) + len(_MARK)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise store_error(path, "a file without our header") from error
    _check_version(path, version)
    if digest != _digest(data, at):
        raise store_error(path, "other bytes than were saved")
    try:
        return _decode(data), unflatten({}, json.loads(meta))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise store_error(path, f"tensors that cannot be read ({error})") from error


def _digest(data: bytes | bytearray, at: int) -> str:
    """SHA-256 of all bytes, those of the checksum at `at` taken as zeros."""
    view = memoryview(data)
    total = hashlib.sha256(view[:at])
    total.update(_BLANK.encode())
    total.update(view[at + len(_BLANK) :])
    return total.hexdigest()


def _pair(stem: str | Path) -> tuple[Path, Path]:
    return Path(f"{stem}.safetensors"), Path(f"{stem}.json")  # with_suffix would cut a stem such as net.v2


def _check_version(path: str | Path, version: object) -> None:
    """Refuses a file of a newer format, or of none."""
    if not str(version).isdecimal() or len(str(version)) > 9 or int(str(version)) < 1:
        raise store_error(path, f"format {version!r:.20}")
    if int(str(version)) > FORMAT:
        raise store_error(path, f"format {version}", f"at most format {FORMAT}", "Upgrade node_oc to read it.")
