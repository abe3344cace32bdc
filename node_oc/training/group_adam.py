"""Adam for groups: one second moment each, and the proximal map of the price in that metric."""

from __future__ import annotations

from typing import Any

import torch

from node_oc.problem.optimality import as_column, group_squares, shrink_


class GroupAdam(torch.optim.Optimizer):
    """Adam with one second moment per group, followed by the proximal map of the price in that metric.

    An entry of ``param_groups`` is a block: the groups of several steps, stacked, (n, ...) each, with their own
    "thresholds" s lambda h_k, (n,). The metric of a group is sqrt(v) + eps, v the mean of its squared gradient entries
    (moving average): with elementwise moments the proximal map is not a shrinkage of the group, and idle groups never
    reach zero (our derivation).
    """

    def __init__(self, blocks: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(blocks, {"lr": lr, "betas": betas, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every group. A closure is not used."""
        for block in self.param_groups:
            params, (beta1, beta2), lr = block["params"], block["betas"], block["lr"]
            gradients = [p.grad for p in params]
            state = self.state[params[0]]
            if not state:
                state["step"], state["second"] = 0, params[0].new_zeros(len(params[0]))
                state["first"] = [torch.zeros_like(p) for p in params]
            state["step"] += 1
            square = group_squares(gradients) / sum(g[0].numel() for g in gradients)
            state["second"].lerp_(square, 1 - beta2)
            torch._foreach_lerp_(state["first"], gradients, 1 - beta1)
            metric = (state["second"] / (1 - beta2 ** state["step"])).sqrt_().add_(block["eps"])
            rate = -lr / (1 - beta1 ** state["step"]) / metric
            for p, first in zip(params, state["first"], strict=True):
                p.addcmul_(first, as_column(rate, p))
            shrink_(params, lr * metric.new_tensor(block["thresholds"]) / metric)
