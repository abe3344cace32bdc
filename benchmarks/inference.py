"""How fast is a cropped network beside the deep one that it was cut from? Latency ratio beside FLOP ratio.

    python -m benchmarks.inference [--calls 200] [--threads N] [--sets dense conv] [--out FILE]

The networks of the presets mnist (20 layers cut to 1 and 2) and mnist-conv (18 blocks cut to 5), untrained: weights
change no latency. Batch 1 and 256, medians over many calls, the networks of an engine in turns. torch is timed first,
the bare network and the model, which standardises raw features; then, apart from it and with the same number of
threads, the ONNX files of the models in onnxruntime, whose idle threads do not spin. Writes inference.json beside this
file.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from benchmarks import positive
from benchmarks.machine import machine
from node_oc import store
from node_oc.config import Config
from node_oc.cropping import crop, first_steps
from node_oc.data.split import Part, Scale, Split
from node_oc.discretization import Network
from node_oc.exporting import export_onnx
from node_oc.inference import Model
from node_oc.measuring import measure
from node_oc.pipeline import make_network

SETS = {"dense": ("mnist", (1, 2)), "conv": ("mnist-conv", (5,))}
BATCHES = (1, 256)
WARM_UP = 10
BAR = 1.35  # latency ratio over FLOP ratio in torch at batch 256, at most
PIXELS = Scale(torch.tensor([33.3184], dtype=torch.float64), torch.tensor([78.5675], dtype=torch.float64))  # MNIST's


def models(preset: str, depths: tuple[int, ...]) -> dict[int, Model]:
    """Deep and cropped networks of a preset with their standardisation, by number of layers; the deep one first."""
    config = Config.preset(preset, {"data.path": "unused"})
    part = Part(torch.zeros(1, 784), torch.zeros(1, dtype=torch.long))
    names = tuple(str(i) for i in range(784))
    split = Split(part, part, part, "classification", tuple("0123456789"), names, PIXELS)
    deep = make_network(config, split)
    networks = {deep.depth: deep} | {m: crop(deep, steps=first_steps(deep, m)) for m in depths}
    return {depth: Model.of(network, split).eval() for depth, network in networks.items()}


def in_onnxruntime(made: dict[int, Model], x: torch.Tensor, calls: int) -> dict[int, dict[int, float]]:
    """Depth -> batch size -> median milliseconds of one call, the depths in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for depth, model in made.items():
            path = Path(folder) / f"{depth}.onnx"
            export_onnx(model, x, path)
            sessions[depth] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: dict[int, dict[int, float]] = {depth: {} for depth in made}
    for batch in BATCHES:
        given = {"x": x[:batch].numpy()}
        times: dict[int, list[float]] = {depth: [] for depth in made}
        for turn in range(calls + WARM_UP):
            for depth, session in sessions.items():
                start = time.perf_counter()
                session.run(None, given)
                if turn >= WARM_UP:
                    times[depth].append(1e3 * (time.perf_counter() - start))
        for depth in made:
            found[depth][batch] = statistics.median(times[depth])
    return found


def rows(name: str, calls: int) -> list[dict[str, Any]]:
    """One row for each engine, batch size and cropped network of a set."""
    preset, depths = SETS[name]
    made = models(preset, depths)
    x = torch.randint(256, (max(BATCHES), 784), generator=torch.Generator().manual_seed(0)).float()
    bare: dict[int, Network] = {depth: model.network for depth, model in made.items()}
    timed = {
        "torch, network": measure({str(m): n for m, n in bare.items()}, PIXELS.apply(x).float(), BATCHES, calls),
        "torch, model": measure({str(m): n for m, n in made.items()}, x, BATCHES, calls),
    }
    flops = {depth: timed["torch, network"][str(depth)].flops for depth in made}
    milliseconds = {
        engine: {depth: {b: found[str(depth)].latency[b].p50 for b in BATCHES} for depth in made}
        for engine, found in timed.items()
    }
    milliseconds["onnxruntime, model"] = in_onnxruntime(made, x, calls)
    deep = max(made)
    out = []
    for engine, found in milliseconds.items():
        for batch in BATCHES:
            for depth in depths:
                latency, share = found[depth][batch] / found[deep][batch], flops[depth] / flops[deep]
                barred = batch == 256 and engine.startswith("torch")
                out.append({
                    "set": name, "engine": engine, "batch": batch, "deep": deep, "cropped": depth,
                    "deep_ms": found[deep][batch], "cropped_ms": found[depth][batch], "latency_ratio": latency,
                    "flop_ratio": share, "over": latency / share, "kept": latency / share <= BAR if barred else None,
                })  # fmt: skip
    return out


def table(found: list[dict[str, Any]]) -> str:
    """In Markdown, with a line on the bar."""
    lines = ["| layers | engine | batch | deep, ms | cropped, ms | latency ratio | FLOP ratio | one over the other |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for r in found:
        lines.append(f"| {r['set']}, {r['deep']} to {r['cropped']} | {r['engine']} | {r['batch']} | {r['deep_ms']:.3f} "
                     f"| {r['cropped_ms']:.3f} | {r['latency_ratio']:.3f} | {r['flop_ratio']:.3f} "
                     f"| {r['over']:.2f} |")  # fmt: skip
    barred = [r for r in found if r["kept"] is not None]
    worst = max(barred, key=lambda r: r["over"])
    said = "kept" if worst["kept"] else "missed"
    lines += ["", f"torch at batch 256: at most {worst['over']:.2f} ({worst['set']}, {worst['deep']} to "
              f"{worst['cropped']}, {worst['engine'].split(', ')[1]}); the bar is {BAR:g}: {said}."]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=positive, default=200, help="timed calls of each network")
    parser.add_argument("--threads", type=positive, help="of both engines; torch's own choice by default")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    found = [row for name in args.sets for row in rows(name, args.calls)]
    about = {"machine": machine(), "threads": torch.get_num_threads(), "calls": args.calls}
    store.write_json(args.out, {**about, "rows": found})
    print(table(found))


if __name__ == "__main__":
    main()
