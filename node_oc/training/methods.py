"""Which method trains a network: gradients, or the maximum principle."""

from __future__ import annotations

from lightning_fabric import Fabric

from node_oc.config import TrainingSection
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem
from node_oc.training.method import Method
from node_oc.training.msa.emsa import EMSA
from node_oc.training.msa.method import MSA


def make_method(
    network: Network, problem: Problem, options: TrainingSection, steps: int, cosine: bool, fabric: Fabric,
    *, epoch: int = 1,
) -> Method | EMSA:  # fmt: skip
    """:class:`MSA` where an awake step has discrete weights, :class:`EMSA` where ``options.method`` asks for it,
    otherwise the (proximal) gradient method.

    Args:
        network: what is trained.
        problem: what is minimised.
        options: learning rate, and what each of the methods reads beside it.
        steps: number of updates, for the schedule.
        cosine: whether the learning rate falls to 0 like a cosine; constant otherwise.
        fabric: devices, precision and distribution.
        epoch: updates in one pass over the samples.

    Raises:
        ConfigError: a discrete layer without a rule, or options that the method cannot follow.
    """
    if any(network.system.discrete(k) for k in network.awake) and options.method != "emsa":
        return MSA(network, problem, options, steps, cosine, fabric, epoch=epoch)
    if options.method != "gradient":
        return EMSA(network, problem, options, fabric)
    return Method(network, problem, options, steps, cosine, fabric)
