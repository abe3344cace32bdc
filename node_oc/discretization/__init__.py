"""How depth is stepped."""

from node_oc.discretization.amplitude import Amplified
from node_oc.discretization.controls import Controls
from node_oc.discretization.discretize import discretize
from node_oc.discretization.driver import TIME, Driver, Time
from node_oc.discretization.drivers import (
    branch_dropout,
    gaussian,
    shake_shake,
    stochastic_depth,
    two_point,
)
from node_oc.discretization.grid import DepthGrid
from node_oc.discretization.held import Held
from node_oc.discretization.law import Gaussian, Law, TwoPoint, Uniform
from node_oc.discretization.limit import LimitSDE, NotSmoothWarning, limit_sde
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Mean, Noise
from node_oc.discretization.noise_spec import noise_from, noise_spec
from node_oc.discretization.refine import refine
from node_oc.discretization.step import step
from node_oc.discretization.tableau import EULER, HEUN, MIDPOINT, RK4, TABLEAUS, Tableau

__all__ = [
    "EULER",
    "HEUN",
    "MIDPOINT",
    "RK4",
    "TABLEAUS",
    "TIME",
    "Amplified",
    "Controls",
    "DepthGrid",
    "Driver",
    "Gaussian",
    "Held",
    "Law",
    "LimitSDE",
    "Mean",
    "Network",
    "Noise",
    "NotSmoothWarning",
    "Tableau",
    "Time",
    "TwoPoint",
    "Uniform",
    "branch_dropout",
    "discretize",
    "gaussian",
    "limit_sde",
    "noise_from",
    "noise_spec",
    "refine",
    "shake_shake",
    "step",
    "stochastic_depth",
    "two_point",
]
