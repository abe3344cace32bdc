"""The backward Kolmogorov equation of small noisy networks against Monte Carlo: values, gradients, the regulariser.

    python -m experiments.noise.kolmogorov [--only values] [--redraw]

Writes kolmogorov.json beside this file, docs/pictures/kolmogorov.png and docs/pictures/kolmogorov-plane.png, and prints
the tables of README.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import node_oc as oc
from node_oc import data, store
from node_oc.plots.value_function import value_in_plane, value_over_depth
from node_oc.seeds import derived_generator

JSON = Path(__file__).with_suffix(".json")
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
DEPTH, STEP, HIDDEN, KEEP = 6, 0.5, 4, 0.8
REGION, STARTS = (-2.0, 2.0), 17
PATHS, SUBSTEPS = 20_000, 16  # from every start, in every layer
BATCHES, BATCH, FEWER = 16, 128, 8  # of gradients; paths from every start in each, substeps in a layer
TARGET = 1.0
SIZES = (0.4, 0.2, 0.1, 0.05)  # deviations of noise that is a factor of the step
HALVED = 2  # times that the steps are halved, for the least noise
STUDIES = 20_000  # draws from every start for the regulariser
TURNS, LAYERS, UPDATES, SOFT = 0.4, 6, 300, 0.2  # of the spirals and their network; targets 0.9 and 0.1


def network(table: oc.Tableau = oc.EULER) -> oc.Network:
    """Six layers of four units on one number, steps of 1/2, weights drawn."""
    g = torch.Generator().manual_seed(0)
    system = oc.DenseSystem(1, 1, depth=DEPTH, width=1, hidden=HIDDEN, row_norm=0.0, head="coordinates", lift="pad",
                            generator=g).double()  # fmt: skip
    with torch.no_grad():
        for k in range(DEPTH):
            for p in system.control(k):
                p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) * (0.3 if p is system.group(k)[0] else 0.8))
            system.group(k)[1].mul_(0.3)
    return oc.Network(system, oc.DepthGrid.uniform(DEPTH, STEP), table)


def cost(x: Tensor) -> Tensor:
    """phi."""
    return (x[:, 0] - TARGET) ** 2


def starts() -> Tensor:
    return torch.linspace(*REGION, STARTS, dtype=torch.float64)[:, None]


def heun(sde: oc.LimitSDE, x: Tensor, generator: torch.Generator, substeps: int) -> tuple[Tensor, Tensor]:
    """Ends of Heun's paths with this many substeps a layer and with half as many, of one Brownian motion.

    A loop of its own, since the two need the same increments.
    """
    fine, coarse = x, x
    for k, h in enumerate(sde.network.h):
        for j in range(0, substeps, 2):
            dt = h / substeps
            dw = dt**0.5 * torch.randn(2, len(x), 1, generator=generator, dtype=x.dtype)
            for i in (0, 1):
                fine = _step(sde, k, ((j + i) / substeps, (j + i + 1) / substeps), fine, dt, dw[i])
            coarse = _step(sde, k, (j / substeps, (j + 2) / substeps), coarse, 2 * dt, dw.sum(0))
    return fine, coarse


def _step(sde: oc.LimitSDE, k: int, c: tuple[float, float], x: Tensor, dt: float, dw: Tensor) -> Tensor:
    b, g = _stratonovich(sde, k, c[0], x)
    later, turned = _stratonovich(sde, k, c[1], x + b * dt + g * dw)
    return x + (b + later) * dt / 2 + (g + turned) * dw / 2


def _stratonovich(sde: oc.LimitSDE, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Drift in Stratonovich's sense, and diffusion."""
    drift, diffusion = sde.drift(k, c, x), sde.diffusion(k, c, x)
    if sde.sde_type == "ito":
        drift = drift - torch.func.jvp(lambda y: sde.diffusion(k, c, y), (x,), (diffusion,))[1] / 2
    return drift, diffusion


def compared(name: str, table: oc.Tableau, order: Any) -> dict[str, Any]:
    """v(0, x) by the equation, by paths of the SDE, and by the noisy network itself."""
    net, noise = network(table), oc.stochastic_depth(KEEP)
    sde = oc.limit_sde(net, noise, order)
    began = time.perf_counter()
    found = oc.value_function(sde, cost, REGION)
    seconds = time.perf_counter() - began
    rows = []
    with torch.no_grad():
        for i, x in enumerate(starts()):
            many = x.repeat(PATHS, 1)
            ends = heun(sde, many, derived_generator(0, name, i), SUBSTEPS)
            fine, coarse = (cost(end).numpy() for end in ends)
            driver = noise.drawn(derived_generator(1, name, i))
            own = cost(oc.rollout(net, many, driver=driver).states[-1]).numpy()
            rows.append({"x": float(x), "mean": float(fine.mean()), "error": float(fine.std() / PATHS**0.5),
                         "bias": float((fine - coarse).mean()), "bias error": float((fine - coarse).std() / PATHS**0.5),
                         "network": float(own.mean()), "network error": float(own.std() / PATHS**0.5)})  # fmt: skip
    v, errors = found.at(starts()), found.error_at(starts())
    for row, value, error in zip(rows, v, errors, strict=True):
        row.update(v=float(value), discretisation=float(error))
    return {"name": name, "value": found.record(), "seconds": seconds, "integral": sde.sde_type, "rows": rows}


def gradients() -> dict[str, Any]:
    """d/du of the mean of v(0, x): through the equation, through paths of the SDE, through the noisy network."""
    net, noise = network(), oc.stochastic_depth(KEEP)
    sde = oc.limit_sde(net, noise, 2)
    exact = oc.value_function(sde, cost, REGION).gradient(starts())
    half = oc.value_function(sde, cost, REGION, points=257).gradient(starts())
    names = [name for name, p in sde.named_parameters() if p.requires_grad]
    x = starts().repeat(BATCH, 1)

    def flat(parts: Any) -> Tensor:
        return torch.cat([part.flatten() for part in parts])

    def batches(way: str) -> Iterator[Tensor]:
        for b in range(BATCHES):
            generator = derived_generator(2, way, b)
            if way == "network":
                end = oc.rollout(net, x, driver=noise.drawn(generator)).states[-1]
            else:
                end = heun(sde, x, generator, FEWER)[0]
            found = torch.autograd.grad(cost(end).mean(), [p for p in sde.parameters() if p.requires_grad],
                                        allow_unused=True)  # fmt: skip
            yield flat([torch.zeros(0) if part is None else part for part in found])

    ours = flat([exact[name] for name in names])
    change = (ours - flat([half[name] for name in names])).abs().max()
    out: dict[str, Any] = {"parameters": len(ours), "norm": float(ours.norm()), "discretisation": float(change) / 3}
    for way in ("sde", "network"):
        drawn = torch.stack(list(batches(way)))
        mean, error = drawn.mean(0), drawn.std(0) / BATCHES**0.5
        out[way] = {"z": float(((mean - ours) / error).abs().max()), "error": float(error.norm()),
                    "smallest error": float(error.min()), "distance": float((mean - ours).norm()),
                    "cosine": float(torch.cosine_similarity(mean, ours, dim=0))}  # fmt: skip
    return out


def leading(net: oc.Network, x: Tensor) -> float:
    """(1/2) sum_k h_k^2 F_k^2 d2J/dx_{k+1}^2, the mean over starts: the explicit regulariser for s = 1."""
    with torch.no_grad():
        states = oc.rollout(net, x).states
    total = 0.0
    for k in range(net.depth):
        y = states[k + 1].detach().requires_grad_()
        end = y
        for j in range(k + 1, net.depth):
            end = net.advance(j, end)[0]
        slope = torch.autograd.grad(cost(end).sum(), y, create_graph=True)[0]
        bend = torch.autograd.grad(slope.sum(), y)[0]
        with torch.no_grad():
            total += float((net.h[k] ** 2 * net.system.branch(k, states[k]) ** 2 * bend).mean()) / 2
    return total


def regulariser() -> list[dict[str, float]]:
    """The mean of v^noisy - v^plain beside the explicit regulariser: noise of several sizes, then smaller steps."""
    net, x, rows = network(), starts(), []
    cases = [(net, s) for s in SIZES]
    for _ in range(HALVED):
        cases.append((oc.refine(cases[-1][0], range(cases[-1][0].depth)), SIZES[-1]))
    for one, s in cases:
        noise = oc.gaussian(s, per="sample")
        noisy, plain = (
            oc.value_function(oc.limit_sde(one, each, 2), cost, REGION, domain=(-6, 6), points=1025)
            for each in (noise, oc.gaussian(0.0))
        )  # fmt: skip
        many, driver = x.repeat(STUDIES, 1), noise.drawn(derived_generator(3, s, one.depth))
        with torch.no_grad():
            alone = cost(oc.rollout(one, x).states[-1]).mean()
            both = [cost(oc.rollout(one, many, driver=way).states[-1]) for way in (driver, driver.mirrored())]
        drawn = ((both[0] + both[1]) / 2).view(STUDIES, STARTS).mean(1) - alone
        rows.append({"s": s, "h": one.h[0], "v": float((noisy.at(x) - plain.at(x)).mean()),
                     "leading": leading(one, x) * s * s, "network": float(drawn.mean()),
                     "network error": float(drawn.std() / STUDIES**0.5)})  # fmt: skip
    return rows


def classifier() -> dict[str, Any]:
    """Two spirals, the state the point itself, trained with stochastic depth; the mean probability of a class."""
    split = data.spirals(turns=TURNS, train=200, val=10, test=10, seed=0)
    g = torch.Generator().manual_seed(0)
    system = oc.DenseSystem(2, 2, depth=LAYERS, width=2, hidden=16, lift="pad", head="coordinates", row_norm=0.0,
                            generator=g)  # fmt: skip
    net, noise = oc.Network(system, oc.DepthGrid.uniform(LAYERS, STEP)), oc.stochastic_depth(KEEP, inverted=True)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2, betas=(0.9, 0.99), weight_decay=1.0)
    for _ in range(UPDATES):
        optimiser.zero_grad()
        logits = oc.rollout(net, split.train.x, driver=noise.drawn(g)).states[-1]
        torch.nn.functional.cross_entropy(logits, split.train.y, label_smoothing=SOFT).backward()
        optimiser.step()
    net.double()
    side, panels = 1.1 * float(split.train.x.abs().max()), []
    for title, one in (("without noise", oc.gaussian(0.0)), (f"stochastic depth, keep {KEEP}", noise)):
        found = oc.value_function(
            oc.limit_sde(net, one, 2), lambda x: x.softmax(1)[:, 1], ((-side, side),) * 2, points=129
        )
        panels.append({"title": title, "value": found.record()})
    return {"panels": panels, "samples": split.train.x.tolist(), "labels": split.train.y.tolist()}


def tables(results: dict[str, Any]) -> None:
    """What README.md shows."""
    print("| SDE | integral | largest \\|z\\| | smallest s.e. | error of the equation | of its domain | "
          "bias of the paths | network − v, largest | in s.e. |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for r in results["values"]:
        rows = r["rows"]
        z = max(abs(row["v"] - row["mean"]) / row["error"] for row in rows)
        bias = max(rows, key=lambda row: abs(row["bias"]) / row["error"])
        apart = max(rows, key=lambda row: abs(row["network"] - row["v"]))
        print(f"| {r['name']} | {r['integral']} | {z:.2f} | {min(row['error'] for row in rows):.1e} | "
              f"{max(row['discretisation'] for row in rows):.1e} | {r['value']['domain_error']:.1e} | "
              f"{bias['bias']:.1e} ± {bias['bias error']:.0e} | {apart['network'] - apart['v']:.1e} | "
              f"{abs(apart['network'] - apart['v']) / apart['network error']:.1f} |")  # fmt: skip
    worst = max(
        max(row["discretisation"], abs(row["bias"])) / row["error"] for r in results["values"] for row in r["rows"]
    )
    print(f"\nLargest error of discretisation, of equation or paths, in standard errors: {worst:.2f}\n")
    g = results["gradients"]
    print(f"Gradient in {g['parameters']} weights: norm {g['norm']:.4f}, discretisation {g['discretisation']:.1e}\n")
    print("| Monte Carlo through | largest \\|z\\| of a weight | distance | standard error of the gradient | cosine |")
    print("|---|---|---|---|---|")
    for way, said in (("sde", "paths of the SDE"), ("network", "the noisy network")):
        one = g[way]
        print(f"| {said} | {one['z']:.2f} | {one['distance']:.2e} | {one['error']:.1e} | {one['cosine']:.5f} |")
    print("\n| s | h | v noisy − v plain | leading term | ratio | noisy network − network | its ratio |")
    print("|---|---|---|---|---|---|---|")
    for row in results["regulariser"]:
        print(f"| {row['s']} | {row['h']} | {row['v']:.3e} | {row['leading']:.3e} | {row['v'] / row['leading']:.3f} | "
              f"{row['network']:.3e} ± {row['network error']:.0e} | {row['network'] / row['leading']:.3f} ± "
              f"{row['network error'] / abs(row['leading']):.3f} |")  # fmt: skip
    print()
    for panel in results["classifier"]["panels"]:
        print(f"{panel['title']}: {panel['value']['sentence']}")


def draw(results: dict[str, Any]) -> None:
    """Both pictures."""
    first = results["values"][0]
    points = {"x": [row["x"] for row in first["rows"]], "mean": [row["mean"] for row in first["rows"]],
              "error": [row["error"] for row in first["rows"]]}  # fmt: skip
    over = {"name": f"Six layers, {first['name']}", "value": first["value"], "points": points, "cost": "E (x(T) − 1)²"}
    value_over_depth(over).savefig(PICTURES / "kolmogorov.png", dpi=130)
    plane = {"name": "Two spirals", "cost": "expected probability of class 1", **results["classifier"]}
    value_in_plane(plane).savefig(PICTURES / "kolmogorov-plane.png", dpi=130)


PARTS: dict[str, Callable[[], Any]] = {
    "values": lambda: [compared(f"stochastic depth, {table.name}", table, 2) for table in (oc.EULER, oc.MIDPOINT)],
    "gradients": gradients, "regulariser": regulariser, "classifier": classifier,
}  # fmt: skip


def main() -> None:
    """Measure, write, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraw", action="store_true", help="tables and pictures again from the JSON file")
    parser.add_argument("--only", choices=PARTS, help="one part again, the others from the JSON file")
    options = parser.parse_args()
    results = store.read_json(JSON) if JSON.exists() and (options.redraw or options.only) else {}
    for name, part in PARTS.items():
        if not options.redraw and options.only in (None, name):
            results[name] = part()
            store.write_json(JSON, results)
    if set(results) == set(PARTS):
        draw(results)
        tables(results)


if __name__ == "__main__":
    main()
