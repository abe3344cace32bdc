"""MNIST, convolutional: 3 stages of 6 blocks, 8, 16 and 32 channels. How many blocks, before healing and after it?

    python -m experiments.headline.conv --data DIRECTORY

Before healing: the first M awake blocks of the network at each price, as it is, with what they reach. After it: the
search's answer. Beside it the plainly trained deep network, its last blocks cut or those of least influence, with the
same healing and the same rule, and plain networks of 1, 2 and 3 blocks a stage. Writes
conv.json beside this file and a picture into docs/pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.headline.sets import PICTURES, accuracy, configure, gather, options, searching
from node_oc.cropping import awake_steps, crop, first_steps
from node_oc.search import Rivals
from node_oc.training.checkpoint import training_work

SETS = ("mnist-conv",)
PLAIN = (3, 6, 9)  # 1, 2 and 3 blocks a stage


def one(name: str, seed: int, data: str | None, folder: Path) -> dict[str, Any]:
    """One seed; accuracies in %."""
    where = folder / name / str(seed)
    search, split, network = searching(configure(name, seed, data), where)
    found = search.run(network)
    stage = list(network.system.stage)  # type: ignore[arg-type]
    unhealed = []
    for entry in found.priced:
        steps = awake_steps(entry.network)
        for m in range(1, len(steps) + 1):
            small = crop(entry.network, steps=steps[:m])
            unhealed.append({"price": entry.sparse.price, "blocks": m, "validation": accuracy(small, split, "val"),
                             "test": accuracy(small, split), "inside": entry.inside})  # fmt: skip
        print(seed, "price", entry.sparse.price, steps, unhealed[-1], flush=True)
    seconds = sum(entry["seconds"] for entry in training_work(where) if not entry["training"].startswith("plain"))
    row: dict[str, Any] = {
        "set": name, "seed": seed, "stage": stage, "reference": accuracy(network, split), "unhealed": unhealed,
        "awake": {str(p.sparse.price): list(p.sparse.awake) for p in found.priced},
        "ratios": {str(p.sparse.price): list(p.sparse.ratios) for p in found.priced},
        "depth": found.depth, "certified": found.certified_depth, "steps": first_steps(found.source, found.depth),
        "test": accuracy(found.network, split), "seconds": seconds,
        "candidates": [{"blocks": c.depth, "steps": list(c.steps), "excess": c.excess, "inside": c.inside,
                        "test": accuracy(c.network, split)} for c in found.candidates],
    }  # fmt: skip
    print(seed, "depth", found.depth, row["steps"], row["test"], "certified", found.certified_depth, flush=True)
    rivals = Rivals(search.protocol, search.fresh, folder=where / "compare")
    row["plain"] = {depth: accuracy(rivals.plain(depth).network, split) for depth in (*PLAIN, network.depth)}
    row["plain_our_depth"] = accuracy(rivals.plain(found.depth).network, split)
    for way, ask in (("last", rivals.drop_last), ("influence", rivals.block_influence)):
        answer, same = ask(), ask(found.depth)
        row[way] = {"blocks": answer.depth, "steps": list(answer.steps or ()), "test": accuracy(answer.network, split),
                    "inside": answer.inside, "seconds": answer.seconds,
                    "at our depth": accuracy(same.network, split)}  # fmt: skip
        print(seed, way, row[way], flush=True)
    return row


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Test error against blocks: unhealed at each price, healed, plain networks, and the plain deep network cut."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    ax = figure.subplots()
    for r in rows:
        for shade, price in enumerate(sorted({u["price"] for u in r["unhealed"]})):
            of = [u for u in r["unhealed"] if u["price"] == price]
            ax.plot([u["blocks"] for u in of], [100 - u["test"] for u in of], color="#007a58", lw=1.2,
                    alpha=0.25 + 0.2 * shade, label=f"ours at price {price:g}, unhealed")  # fmt: skip
        of = r["candidates"]
        ax.plot([c["blocks"] for c in of], [100 - c["test"] for c in of], "D-", color="#007a58", ms=7, mec="white",
                label="ours, cut and healed")  # fmt: skip
        plain = {int(blocks): value for blocks, value in r["plain"].items()} | {r["depth"]: r["plain_our_depth"]}
        ax.plot(sorted(plain), [100 - plain[b] for b in sorted(plain)], "o-", color="#2f5fa8", label="plain networks")
        for way, colour, label in (("last", "#b5432a", "drop last"), ("influence", "#8c2f6b", "block influence")):
            points = sorted({(r[way]["blocks"], r[way]["test"]), (r["depth"], r[way]["at our depth"])})
            ax.plot([b for b, _ in points], [100 - a for _, a in points], "s--", color=colour, mec="white",
                    label=f"plain deep, {label}, healed")  # fmt: skip
    ax.set(yscale="log", xlabel="blocks", ylabel="test error, %", ylim=(0.4, 12), title="MNIST, 3 stages of 6 blocks")
    ax.set_xticks(range(0, 19, 3))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    ax.axhline(1, color="#1f2430", ls=":", lw=1)
    ax.grid(alpha=0.25, which="both")
    ax.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def table(rows: list[dict[str, Any]]) -> str:
    """The table of README.md."""
    lines = [
        "| seed | N = 18 | price: blocks awake, accuracy unhealed | blocks found | healed | certified "
        "| plain, same blocks | plain, 3 / 6 / 9 / 18 blocks | drop last: blocks, healed, at ours "
        "| influence: blocks, healed, at ours |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        whole = {u["price"]: u for u in r["unhealed"]}  # the last of each price has all of its awake blocks
        prices = "; ".join(f"{price:g}: {u['blocks']}, {u['test']:.2f}" for price, u in whole.items())
        cuts = [f"{r[w]['blocks']}, {r[w]['test']:.2f}, {r[w]['at our depth']:.2f}" for w in ("last", "influence")]
        plain = " / ".join(f"{value:.2f}" for value in r["plain"].values())
        lines.append(
            f"| {r['seed']} | {r['reference']:.2f} | {prices} | {r['depth']} | {r['test']:.2f} | "
            f"{r['certified'] or 'none'} | {r['plain_our_depth']:.2f} | {plain} | {cuts[0]} | {cuts[1]} |"
        )
        enough = [u for u in r["unhealed"] if u["validation"] >= 99.0]
        least = min(enough, key=lambda u: (u["blocks"], -u["validation"])) if enough else None
        told = f"{least['blocks']} blocks, {least['test']:.2f} % on test data" if least else "none"
        print(f"seed {r['seed']}: fewest blocks with 99.0 % on validation data before healing: {told}")
    return "\n".join(lines)


def main() -> None:
    """Run all, print the table of README.md."""
    args = options(__doc__, SETS)
    rows = gather(args, Path(__file__).with_suffix(".json"), one, {"mnist-conv": 1})
    print(table(rows))
    draw(rows, PICTURES / "headline-conv.png")


if __name__ == "__main__":
    main()
