"""The continuous adjoint on a contracting field, beside backpropagation through the steps.

    python -m experiments.neural_ode.adjoint

f(x) = lam (tanh(W x + b) - x), D = 16, T = 1, running cost ||x - 1||^2, gradient in (W, b), dopri5; relative error
against float64 at 1e-12. The adjoint's digits are amplified rounding and differ from machine to machine.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from node_oc.discretization import Network
from node_oc.problem import Problem, SquaredError
from node_oc.problem.gradients import check_gradients
from node_oc.system.ode import NeuralODE, VectorField
from node_oc.trajectory import Solver

HERE = Path(__file__).parent


class Contracting(VectorField):
    """lam (tanh(W x + b) - x), drawn as the theory sheet says."""

    group_names = ()

    def __init__(self, lam: float) -> None:
        super().__init__()
        self.lam = lam
        self.weight = nn.Parameter(torch.randn(16, 16, dtype=torch.float64) / 8)
        self.bias = nn.Parameter(torch.randn(16, dtype=torch.float64))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.lam * (torch.tanh(x @ self.weight.T + self.bias) - x)


class Free(SquaredError):
    """No terminal cost."""

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        return 0 * super().__call__(readout, target)


def main() -> None:
    rows = []
    for lam in (10.0, 25.0):
        for dtype in (torch.float32, torch.float64):
            for tolerance in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
                torch.manual_seed(0)
                network = Network(NeuralODE(Contracting(lam), steps=1)).to(dtype)
                x, y = torch.randn(1, 16, dtype=torch.float64).to(dtype), torch.ones(1, 16, dtype=dtype)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    check = check_gradients(network, Problem(Free(), SquaredError()), x, y,
                                            Solver(rtol=tolerance, atol=tolerance))  # fmt: skip
                rows.append({"lam": lam, "dtype": str(dtype), "tolerance": tolerance, **check.errors,
                             "wrong": list(check.wrong), "evaluations": check.evaluations})  # fmt: skip
                print(f"lam {lam:g} {dtype}, {tolerance:g}: {check.sentence}", flush=True)
    (HERE / "adjoint.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
