"""How a network grew, in words: what it stopped at, against what, and what to do where it could not answer."""

from __future__ import annotations

from node_oc.search import Found, Growth
from node_oc.search.compared import layers


def grown(found: Found, growth: Growth, worse: float, task: str) -> str:
    """The answer of a growth in words.

    Args:
        found: the answer.
        growth: how it came about.
        worse: mean paired loss of the answer against the reference on validation data.
        task: "classification" or "regression".
    """
    n = found.reference.depth
    then = f"the network of {layers(n)} as it was in the middle of growth"
    if not any(candidate.inside for candidate in found.candidates):
        least = min(candidate.excess for candidate in found.candidates)
        text = (f"Growth did not meet the budget: the nearest, {layers(found.depth)}, has a mean paired loss of "
                f"{least:.4f} against {then}, and {found.budget.limit:g} is allowed. Allow more, give it more samples "
                "to be judged by or more epochs, or cut a deep network: search.way=cut.")  # fmt: skip
    elif found.depth != found.selected:
        text = (f"{layers(found.selected)} of {n} stay within the budget on the selecting half, but no depth is "
                "certified: give more validation data, or allow more.")  # fmt: skip
    else:
        if task == "classification":
            change = (
                f"{100 * abs(worse):.2f} points {'worse' if worse > 0 else 'better'} than" if worse else "as good as"
            )
            told = f"on validation data the answer is {change} {then}"
        else:
            told = f"the answer is within the budget of {then}"
        verb = "is" if found.depth == 1 else "are"
        text = f"{layers(found.depth)} {verb} enough: growth tried up to {n}, and {told}."
        if growth.fixed and found.depth == n:
            text = f"At the price of {growth.price:g} {layers(n)} {verb} awake, and the budget allows no fewer."
        elif growth.stopped == "enough" and found.depth == n:
            text = (f"{layers(n)}, the deepest network tried: fewer were enough in the trials, but trained on to the "
                    f"end they left the budget; {told}.")  # fmt: skip
        refitted = any(window.role == "refit" for window in growth.windows)
        if unlearned(found, worse, task):
            text += (" The answer is so much better than what it was judged by that the trials compared networks which "
                     "had hardly learned: do not trust this depth. Give it more epochs or a higher learning rate, or "
                     "cut a deep network: search.way=cut.")  # fmt: skip
        if not refitted:
            text += " It is not trained to the end, since search.heal is off."
        elif not growth.refitted:
            text += " Trained on to the end it was worse, so it is left as it grew."
    return f"{text} {_stopped(growth)}"


def unlearned(found: Found, worse: float, task: str) -> bool:
    """Whether the answer beats the reference by so much that trials between such networks said nothing.

    By ten budgets and five points of accuracy (our rule of thumb); not asked in regression.
    """
    return task == "classification" and worse < -max(0.05, 10 * found.budget.budget)


def _stopped(growth: Growth) -> str:
    ratio = max((each.ratio for each in growth.looks), default=0.0)
    if growth.stopped == "no room" and growth.fixed:
        return (f"The price of {growth.price:g} is so low that every step woke, up to {layers(growth.limit)}. Raise "
                "problem.price, or system.depth.")  # fmt: skip
    if growth.stopped == "no room":
        lost = next((w.lost for w in reversed(growth.windows) if w.role == "shallow" and w.lost is not None), 0.0)
        return (f"Growth ended at the largest depth, {layers(growth.limit)}, while the last trial still paid: the "
                f"shallow network's mean paired loss was {lost:.4f}. Raise system.depth to know whether more "
                "would.")  # fmt: skip
    if growth.stopped == "price" and not any(window.woke for window in growth.windows):
        return (f"At the price of {growth.price:g} nothing woke: the largest optimality ratio seen is {ratio:.2g}, and "
                "a step wakes above 1, beyond its error. Lower problem.price, or let the budget decide with "
                "problem.price=auto.")  # fmt: skip
    if growth.stopped == "price":
        return f"No other step pays at the price of {growth.price:g}: the largest ratio seen is {ratio:.2g}."
    if growth.stopped == "nothing left":
        return "Growth ended because the loss itself is within the budget: no deeper network can be better by more."
    return "Growth ended because twice the layers gained no more than the budget, trained side by side."
