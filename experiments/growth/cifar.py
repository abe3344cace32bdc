"""Where depth is worth something: 5,000 images of CIFAR-10, a pre-activation ResNet, accuracy against training FLOPs.

    python -m experiments.growth.cifar --data DIRECTORY

3 seeds: 5,000 images train, the next 5,000 of a random order validate, the 10,000 test images test. 3 stages of 8, 16
and 32 channels, N = 18 blocks, 1,500 updates of 128. A growth with the built-in settings, its upward sweep, plain
networks of 0 to 18 blocks, and the deep network that is trained with stage costs and cut. DIRECTORY holds the binary
version of CIFAR-10 (data_batch_1.bin to _5, test_batch.bin), or the same as lossless WebP sheets of 100 x 100 images
with labels.npz. Writes cifar.json beside this file and a picture into docs/pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from experiments.growth.account import beside, spread, threads, update_flops
from experiments.headline.sets import PICTURES, accuracy, gather, mean_interval, written
from node_oc.config import Config
from node_oc.data.prepare import Rows, prepare
from node_oc.data.split import Split
from node_oc.pipeline import make_network, make_problem
from node_oc.search import DepthSearch
from node_oc.training.batches import training_updates
from node_oc.training.checkpoint import training_work

DEPTHS = (0, 1, 2, 4, 6, 9, 18)
TRAIN = 5000


def batch(folder: Path, name: str, labels: Any) -> tuple[Any, Any]:
    """Images (10000, 3072) as uint8, channels first, and classes."""
    if (file := folder / f"{name}.bin").exists():
        raw = np.fromfile(file, np.uint8).reshape(-1, 3073)
        return raw[:, 1:], raw[:, 0].astype(int)
    sheet = np.asarray(Image.open(folder / f"{name}.webp").convert("RGB"))
    images = sheet.reshape(100, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3072)
    return images, labels.astype(int)


def load(folder: Path, seed: int) -> Split:
    """5,000 images to train, 5,000 to validate, 10,000 to test."""
    known = np.load(folder / "labels.npz") if (folder / "labels.npz").exists() else {}
    parts = [batch(folder, f"data_batch_{i + 1}", known["train"][10000 * i : 10000 * (i + 1)] if known else None)
             for i in range(5)]  # fmt: skip
    x, y = (np.concatenate(values) for values in zip(*parts, strict=True))
    order = np.random.default_rng(seed).permutation(len(y))
    train, val = order[:TRAIN], order[TRAIN : 2 * TRAIN]
    test = Rows(*batch(folder, "test_batch", known["test"] if known else None))
    pixels = tuple(f"pixel_{i}" for i in range(3072))
    return prepare(Rows(x[train], y[train]), Rows(x[val], y[val]), test, task="classification", features=pixels,
                   standardise="global")  # fmt: skip


def configure(seed: int) -> Config:
    """The built-in convolutional configuration, for colour images and fewer of them."""
    return Config.preset("mnist-conv", {"data.path": "unused", "system.image": [3, 32, 32], "training.seed": seed,
                                        "training.threads": 1, "training.min_updates": 1500})  # fmt: skip


def one(name: str, seed: int, data: str | None, folder: Path) -> dict[str, Any]:
    """One seed: growth and plain networks, or the deep network cut."""
    threads()
    config, split = configure(seed), load(Path(str(data)), seed)
    where = folder / name / str(seed)
    if name == "cifar":
        row = beside(config, split, where, DEPTHS)
        print(seed, row["grow"]["path"], f"{row['grow']['test']:.2f} %", flush=True)
        return {"set": name, "seed": seed, **row}
    problem, updates = make_problem(config, split), training_updates(config.training, len(split.train))
    search = DepthSearch(problem, split, config.training, config.replace({"search.plain": False}).search, folder=where)
    network = make_network(config, split)
    found = search.run(network)
    work = training_work(where)
    layer = update_flops(network, problem, split, config.training.batch) / network.depth
    row = {"depth": found.depth, "test": accuracy(found.network, split), "full": accuracy(found.reference, split),
           "work": sum(e["layer_steps"] for e in work) / updates, "flops": sum(e["layer_steps"] for e in work) * layer,
           "seconds": sum(e["seconds"] for e in work)}  # fmt: skip
    print(name, seed, row, flush=True)
    return {"set": name, "seed": seed, **row}


def tell(rows: list[dict[str, Any]]) -> str:
    """The fronts in Markdown."""
    mine, cut = ([row for row in rows if row["set"] == name] for name in ("cifar", "cifar-cut"))
    lines = ["| way | blocks | test accuracy | training FLOPs, 10^12 | minutes |", "|---|---|---|---|---|"]
    for depth in DEPTHS:
        these = [row["plain"][str(depth)] for row in mine]
        lines.append(_line(f"plain, {depth}", str(depth), these))
    ups = [row["upwards"] for row in mine]
    lines.append(_line("sweep upwards", spread(r["depth"] for r in ups), ups))
    lines.append(_line("grow", spread(row["grow"]["depth"] for row in mine), [row["grow"] for row in mine]))
    if cut:
        lines.append(_line("deep and cut", spread(row["depth"] for row in cut), cut))
    return "\n".join(lines)


def _line(way: str, blocks: str, rows: list[dict[str, Any]]) -> str:
    flops, minutes = np.mean([r["flops"] for r in rows]) / 1e12, np.mean([r["seconds"] for r in rows]) / 60
    return f"| {way} | {blocks} | {written([r['test'] for r in rows])} | {flops:.3g} | {minutes:.1f} |"


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Test accuracy against all FLOPs of training."""
    mine, cut = ([row for row in rows if row["set"] == name] for name in ("cifar", "cifar-cut"))
    fig = Figure(figsize=(7.2, 4.6), layout="constrained")
    ax = fig.subplots()
    front = [(np.mean([row["plain"][str(m)]["flops"] for row in mine]) / 1e12,
              *mean_interval([row["plain"][str(m)]["test"] for row in mine])) for m in DEPTHS]  # fmt: skip
    x, y, half = zip(*front, strict=True)
    ax.errorbar(x, y, np.nan_to_num(half), fmt="-o", color="#0072B2", ms=5, lw=1.4, label="plain, each trained once")
    for depth, at in zip(DEPTHS, front, strict=True):
        ax.annotate(str(depth), at[:2], xytext=(4, -11), textcoords="offset points", color="#0072B2", fontsize=9)
    for label, colour, marker, these in (
        ("grow", "#009E73", "D", [row["grow"] for row in mine]),
        ("sweep upwards, all its trainings", "#D55E00", "s", [row["upwards"] for row in mine]),
        ("deep and cut", "#3f4a5c", "^", cut),
    ):
        ax.plot([r["flops"] / 1e12 for r in these], [r["test"] for r in these], marker, color=colour, ms=7, label=label)
        for r in these:
            ax.annotate(str(r["depth"]), (r["flops"] / 1e12, r["test"]), xytext=(6, 4), textcoords="offset points",
                        color=colour, fontsize=9)  # fmt: skip
    ax.set(xscale="log", xlabel="FLOPs of all training, 10^12; numbers are blocks", ylabel="test accuracy in %",
           title="CIFAR-10, 5,000 images")  # fmt: skip
    ax.legend(frameon=False, fontsize=9)
    return fig


def main() -> None:
    """Run, print the table, write JSON and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["cifar", "cifar-cut"], choices=["cifar", "cifar-cut"])
    parser.add_argument("--seeds", type=int, help="fewer or more than 3")
    parser.add_argument("--data", help="folder with CIFAR-10")
    parser.add_argument("--folder", type=Path, default=Path("runs/growth"))
    parser.add_argument("--redraw", action="store_true", help="table and picture again from the JSON file")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one thread each")
    args = parser.parse_args()
    if args.data is None and not args.redraw:
        parser.error("CIFAR-10 needs --data DIRECTORY")
    rows = gather(args, Path(__file__).with_name("cifar.json"), one, {"cifar": 3, "cifar-cut": 3})
    print(tell(rows))
    picture(rows).savefig(PICTURES / "growth-cifar.png", dpi=130)


if __name__ == "__main__":
    main()
