"""What a budget of FLOPs or latency left, in words, and whether the budget of accuracy holds as well."""

from __future__ import annotations

from node_oc.search import Found
from node_oc.search.compared import layers

NAMES = {"flops": "FLOPs", "latency": "median latency"}


def afforded(found: Found) -> str:
    """Depth, cost and loss of the answer, and which budget does not hold; empty without a budget of cost.

    Args:
        found: the answer.
    """
    cost = found.afforded
    if cost is None:
        return ""
    candidate = next(c for c in found.candidates if c.depth == found.depth)
    name = NAMES[cost.kind] + (f" at batch {cost.batch}" if cost.kind == "latency" else "")
    verb = "has" if found.depth == 1 else "have"
    text = (f"{layers(found.depth)} of {found.reference.depth} {verb} {100 * cost.share:.3g} % of the full network's "
            f"{name}, {100 * cost.allowed:.3g} % are allowed: ")  # fmt: skip
    if found.budget.task == "classification":
        change = "lose" if candidate.excess >= 0 else "gain"
        text += (f"they {change} {100 * abs(candidate.excess):.2f} points on the selecting half, and "
                 f"{100 * found.budget.budget:.3g} may be lost. ")  # fmt: skip
    else:
        side = "within" if candidate.inside else "over"
        text += f"their loss is {side} what the budget of {100 * found.budget.budget:.3g} % allows. "
    holds = {NAMES[cost.kind]: cost.share <= cost.allowed, "accuracy": candidate.inside}
    failed = [budget for budget, kept in holds.items() if not kept]
    if not failed:
        return text + "Both budgets hold."
    return text + f"The budget of {' and that of '.join(failed)} does not hold: allow more of either."
