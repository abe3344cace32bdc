"""torch.compile(fullgraph=True) and torch.export on every fixed-step model, and on torchdiffeq's odeint.

python -m experiments.neural_ode.compiled
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from node_oc.discretization import TABLEAUS, Network, discretize
from node_oc.system.ode import (
    Basis,
    Chebyshev,
    Coordinates,
    DenseVectorField,
    Fourier,
    NeuralODE,
    Pad,
    Piecewise,
    Polynomial,
    Wavelet,
)

HERE = Path(__file__).parent
CONTROLS: dict[str, Basis] = {
    "constant": Piecewise(1), "piecewise": Piecewise(4), "polynomial": Polynomial(3), "chebyshev": Chebyshev(3),
    "fourier": Fourier(3), "wavelet": Wavelet(4),
}  # fmt: skip
THEIRS = {"euler": "euler", "midpoint": "midpoint", "heun": "heun2", "rk4": "rk4"}


class Theirs(nn.Module):
    """torchdiffeq's fixed-step odeint between the same lift and head."""

    def __init__(self, ode: NeuralODE, method: str) -> None:
        super().__init__()
        self.ode, self.method = ode, method

    def forward(self, x: Tensor) -> Tensor:
        times = torch.linspace(0, 1, self.ode.depth + 1)
        field = self.ode.vector_field
        control = dict(zip(self.ode.names, self.ode.control_at(0, 0.0), strict=True))
        states = odeint(lambda t, s: torch.func.functional_call(field, control, (t, s)), self.ode.lift(x), times,
                        method=self.method)  # fmt: skip
        return self.ode.head(states[-1])


def attempt(module: nn.Module, x: Tensor) -> dict[str, str | float]:
    """Largest difference to eager outputs by each way, or the error's name."""
    wanted = module(x)

    def compiled() -> Tensor:
        torch.compiler.reset()
        return torch.compile(module, fullgraph=True)(x)

    def exported() -> Tensor:
        batch = torch.export.Dim("batch", min=1)
        return torch.export.export(module, (x,), dynamic_shapes={"x": {0: batch}}).module()(x)

    out: dict[str, str | float] = {}
    ways: dict[str, Callable[[], Tensor]] = {"compile": compiled, "export": exported}
    for name, way in ways.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                out[name] = float((way() - wanted).abs().max() / wanted.abs().max())
        except Exception as error:  # what it is called is the result
            out[name] = type(error).__name__
    return out


def main() -> None:
    logging.disable(logging.CRITICAL)
    torch.manual_seed(0)
    x, rows = torch.randn(6, 2), []
    for control, basis in CONTROLS.items():
        for name, table in TABLEAUS.items():
            ode = NeuralODE(
                DenseVectorField(4, 8, time=True), lift=Pad(2, 4), head=Coordinates(3, 4), steps=4, basis=basis
            )
            with torch.no_grad():
                for p in ode.coefficients:
                    p.add_(0.3 * torch.randn_like(p))
            for kind, network in (("neural ODE", Network(ode, table=table)), ("unrolled", discretize(ode, 4, table))):
                rows.append({"model": kind, "control": control, "table": name, **attempt(network.eval(), x)})
                print(rows[-1], flush=True)
    ode = NeuralODE(DenseVectorField(4, 8, time=True), lift=Pad(2, 4), head=Coordinates(3, 4), steps=4)
    for name, method in THEIRS.items():
        rows.append({"model": "torchdiffeq", "control": "constant", "table": name, **attempt(Theirs(ode, method), x)})
        print(rows[-1], flush=True)
    (HERE / "compiled.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
