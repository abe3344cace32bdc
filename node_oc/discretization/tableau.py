"""Explicit Runge-Kutta methods as tables that check themselves."""

from __future__ import annotations

from dataclasses import dataclass

from node_oc.errors import ConfigError


@dataclass(frozen=True)
class Tableau:
    """Butcher table of an explicit Runge-Kutta method.

    A step is X_i = x + h sum_j a_ij F(X_j), x+ = x + h sum_i b_i F(X_i). With u held constant over the step,
    F(x, u) = 0 gives x+ = x for every such table: equilibria are preserved (our derivation).

    Attributes:
        name: as used in the configuration.
        a: strictly lower triangular rows, ((), (a_10,), (a_20, a_21), ..).
        b: weights, of sum 1; also the quadrature of the running cost.
        c: nodes, c_i = sum_j a_ij.
        order: classical order of convergence.

    Raises:
        ConfigError: rows that do not sum to c, weights that do not sum to 1, a shape that is not triangular.
    """

    name: str
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    order: int

    def __post_init__(self) -> None:
        shape = [len(row) for row in self.a]
        if not shape or shape != list(range(len(self.b))) or len(self.c) != len(self.b):
            raise ConfigError(
                f"tableau {self.name}", got=f"rows {shape}, {len(self.b)} weights, {len(self.c)} nodes",
                expected="rows of length 0, 1, .., s-1 and s weights and nodes", do="Complete the table.",
            )  # fmt: skip
        rows = max(abs(sum(row) - c) for row, c in zip(self.a, self.c, strict=True))
        if not (rows <= 1e-12 and abs(sum(self.b) - 1) <= 1e-12):  # a NaN fails too
            raise ConfigError(
                f"tableau {self.name}", got=f"row error {rows:.1e}, sum of weights {sum(self.b)}",
                expected="rows that sum to c and weights that sum to 1", do="Correct the coefficients.",
            )  # fmt: skip

    @property
    def stages(self) -> int:
        """Evaluations of the branch in one step."""
        return len(self.b)


EULER = Tableau("euler", ((),), (1.0,), (0.0,), 1)
MIDPOINT = Tableau("midpoint", ((), (0.5,)), (0.0, 1.0), (0.0, 0.5), 2)
HEUN = Tableau("heun", ((), (1.0,)), (0.5, 0.5), (0.0, 1.0), 2)
RK4 = Tableau("rk4", ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 0.5, 0.5, 1.0), 4)
TABLEAUS = {table.name: table for table in (EULER, MIDPOINT, HEUN, RK4)}
