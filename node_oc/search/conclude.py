"""The end of every search: certify the candidates, choose among them, train the plain neighbour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from node_oc.diagnosis.certificate import certify
from node_oc.diagnosis.loss import sample_losses
from node_oc.discretization.network import Network
from node_oc.search.afford import Afforded
from node_oc.search.found import Candidate, Found, Growth, Priced
from node_oc.search.protocol import Protocol


def conclude(
    protocol: Protocol, network: Network, source: Network, tried: Mapping[int, Candidate], selected: int | None,
    fresh: Callable[[int], Network] | None, *, priced: Sequence[Priced] = (), growth: Growth | None = None,
    afforded: Afforded | None = None,
) -> Found:  # fmt: skip
    """Certify on the other half, choose, train a plain network of the depth chosen.

    Args:
        protocol: judged by the reference.
        network: the reference.
        source: what the candidates are cut from.
        tried: candidates by depth.
        selected: the smallest depth inside the budget, None if none is.
        fresh: makes an untrained network of a given depth; None leaves the plain neighbour out.
        priced: see :class:`Found`.
        growth: see :class:`Found`.
        afforded: see :class:`Found`; ``selected`` is then what the cost allows, and is taken as it is.
    """
    within = None if selected is None else tried[selected]
    candidates = _certify(protocol, [tried[m] for m in sorted(tried)], within)
    certified = min((c.depth for c in candidates if c.certificate and c.certificate.holds), default=None)
    chosen = within
    if protocol.search.certify and afforded is None:
        chosen = None if certified is None else tried[certified]
    if chosen is None and growth is not None and not protocol.search.certify:
        chosen = nearest(tried)  # what it is measured against is not trained to the end
    depth = network.depth if chosen is None else chosen.depth
    plain = None
    if protocol.search.plain and fresh is not None:
        plain = fresh(depth)
        protocol.heal(plain, f"plain-{depth}", share=1.0)
    certifying = protocol.certifying
    return Found(
        network, protocol.budget, list(priced), source, candidates, depth,
        network if chosen is None else chosen.network,
        depth if within is None else within.depth, certified, plain,
        len(protocol.selecting), len(certifying) if certifying else 0, growth, afforded,
    )  # fmt: skip


def nearest(tried: Mapping[int, Candidate]) -> Candidate:
    """The candidate that is least outside the budget."""
    return min(tried.values(), key=lambda candidate: candidate.excess)


def _certify(protocol: Protocol, candidates: list[Candidate], selected: Candidate | None) -> list[Candidate]:
    """Fixed sequence from deep to shallow, down to the selected depth, stopping at the first failure."""
    certifying, budget, task = protocol.certifying, protocol.budget, protocol.split.task
    if certifying is None or selected is None:
        return candidates
    reference = sample_losses(protocol.reference, certifying, task)
    out: list[Candidate] = []
    going = True
    for candidate in reversed(candidates):
        if going and candidate.depth >= selected.depth:
            d = budget.paired(sample_losses(candidate.network, certifying, task), reference)
            certificate = certify(d, budget.limit, protocol.search.confidence, *budget.range)
            candidate = replace(candidate, certificate=certificate)
            going = certificate.holds
        out.append(candidate)
    return out[::-1]
