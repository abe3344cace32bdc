"""From a configuration to the objects of a run: samples, network, problem."""

from __future__ import annotations

from collections.abc import Callable

from node_oc import data
from node_oc.config import Config
from node_oc.cropping import spread_steps
from node_oc.data.split import Split
from node_oc.discretization import TABLEAUS, DepthGrid, Network
from node_oc.problem.cost import Cost, CrossEntropy, SoftCrossEntropy, SquaredError
from node_oc.problem.hinge import SquaredHinge
from node_oc.problem.ocp import Problem
from node_oc.problem.path_cost import PathCost
from node_oc.problem.stopping import DepthCost, DiminishingReturns
from node_oc.seeds import derived_generator
from node_oc.system import make_system


def load_split(config: Config) -> Split:
    """The samples that the configuration names."""
    c = config.data
    if c.source == "spirals":
        return data.spirals(c.turns, c.train, c.val, c.test, c.seed)
    if c.source == "digits":
        return data.digits(c.seed)
    if c.source == "idx":
        return data.idx(str(c.path))
    return data.table(str(c.path), str(c.target), c.task, c.drop, c.val_fraction, c.test_fraction, c.seed)


def make_network(config: Config, split: Split, depth: int | None = None, name: str = "reference") -> Network:
    """An untrained network of the configured kind; its weights depend on the seed, the name and the depth.

    Of an adopted model the whole one, or the steps that a cut to ``depth`` would keep if all were awake.
    """
    c = config.system
    seeded = c.depth if depth is None else depth
    generator = derived_generator(config.training.seed, "weights", name, seeded)
    system = make_system(c, split.inputs, split.outputs, seeded, generator)
    if c.kind == "discrete":
        return Network(system)
    if c.kind != "adopted":
        return Network(system, DepthGrid.uniform(seeded, c.step), TABLEAUS[c.table])
    network = Network(system)
    return network if depth is None or depth == network.depth else network.keep(spread_steps(network, depth))


def make_problem(config: Config, split: Split) -> Problem:
    """The configured cost, or squared error in regression, as stage and terminal cost, and in the cost of depth."""
    c = config.problem
    costs: dict[str, Callable[[], Cost]] = {
        "soft_cross_entropy": lambda: SoftCrossEntropy(split.outputs, c.eps),
        "cross_entropy": CrossEntropy,
        "squared_hinge": SquaredHinge,
    }
    cost = costs[c.cost]() if split.task == "classification" else SquaredError()
    paths: list[PathCost] = []
    if c.depth_cost:
        paths.append(DepthCost(cost, c.depth_cost, c.depth_temperature, c.depth_weight))
    if c.returns is not None:
        paths.append(DiminishingReturns(c.returns, c.returns_weight))
    price = 0.0 if c.price == "auto" else c.price
    return Problem(cost, cost, c.stage_weight, c.energy, price, path_costs=tuple(paths))
