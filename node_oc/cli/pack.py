"""`pack` and `summary`: a model with discrete weights in few bits, and what its layers take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from node_oc.cli.display import console
from node_oc.cli.options import Chosen, Model, Overwrite, Own
from node_oc.cli.own import trust
from node_oc.cli.use import refuse_existing, stem_of


def pack(
    folder: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A finished run, or a model file.")],
    which: Chosen = None,
    out: Annotated[Path | None, typer.Option(help="Where to write, without ending; RUN/packed by default.")] = None,
    overwrite: Overwrite = False, own: Own = None,
) -> None:  # fmt: skip
    """Pack a model's discrete weights into few bits, with a checksum.

    Writes .safetensors and .json, which every command reads like any model, and says what each layer takes.
    """
    from node_oc.exporting import load_model
    from node_oc.packing import save_packed, summarise

    trust(own)
    stem = stem_of(folder, which)
    model = load_model(stem)
    target = out or (folder if folder.is_dir() else folder.parent) / "packed"
    if out or not folder.is_dir():  # in a run it is made from what is there, and made again
        for ending in (".safetensors", ".json"):
            refuse_existing(Path(f"{target}{ending}"), overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
    files = save_packed(model, target)
    _show({**summarise(model).record(), **_sizes(target)}, stem.name)
    print(f"Wrote {files[0]} and {files[1].name}; read them with node_oc.load_model({str(target)!r}).")


def summary(
    model: Model, which: Chosen = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Measure every layer at this batch size; may be repeated.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads to measure with; torch's own choice.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    own: Own = None,
) -> None:  # fmt: skip
    """What each layer of a model takes: shape, bits, non-zero share, bytes packed and in float32.

    With --batch also which layers run faster without their zeros, measured here and now.
    """
    import torch

    from node_oc.errors import ConfigError
    from node_oc.exporting import load_model
    from node_oc.packing import sparse_model, summarise

    trust(own)
    if threads is not None and not batch:
        raise ConfigError("--threads", got="no --batch", expected="a batch size beside it",
                          do="Add --batch 256, or leave it out.")  # fmt: skip
    stem = stem_of(model, which)
    read = load_model(stem)
    if threads is not None:
        torch.set_num_threads(threads)
    found = [sparse_model(read, size) for size in batch or []]
    speeds = [speed for each in found for speed in (*each.layers, each.whole)]
    record = {**summarise(read).record(speeds), **_sizes(stem)}
    if as_json:
        print(json.dumps({**record, "threads": torch.get_num_threads()}))
        return
    _show(record, stem.name)


def _sizes(stem: Path) -> dict[str, Any]:
    return {"files": {path.name: path.stat().st_size for ending in (".safetensors", ".json")
                      if (path := Path(f"{stem}{ending}")).exists()}}  # fmt: skip


def _show(record: dict[str, Any], name: str) -> None:
    from node_oc.report import number, packed_table, speed_sentences, speed_table

    console.print(packed_table(record, name))
    on_disk, float32 = sum(record["files"].values()), record["total"]["float32"]
    print(f"On disk {number(on_disk)} bytes ({', '.join(f'{k} {number(v)}' for k, v in record['files'].items())}): "
          f"1/{float32 / on_disk:.1f} of its {number(float32)} bytes in float32.")  # fmt: skip
    if record["speeds"]:
        console.print(speed_table(record))
        for sentence in speed_sentences(record["speeds"]):
            print(sentence)
