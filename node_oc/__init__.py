"""How deep does this network need to be?

Data flows one way, and the public names stand in that order: data -> system -> discretization -> trajectory
-> problem -> training -> diagnosis -> search -> export. They are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "NodeOCError": "errors", "ConfigError": "errors", "DataError": "errors", "ShapeError": "errors",
    "StoreError": "errors", "DivergenceError": "errors", "AdoptError": "errors",
    "Config": "config", "TrainingSection": "config", "SearchSection": "config",
    "Split": "data.split", "Part": "data.split", "Scale": "data.split",
    "System": "system.base", "DenseSystem": "system.dense", "ConvSystem": "system.conv",
    "NeuralODE": "system.ode", "UnrolledSystem": "system.ode", "VectorField": "system.ode",
    "DenseVectorField": "system.ode", "ConvVectorField": "system.ode", "register_field": "system.ode",
    "Basis": "system.ode", "Piecewise": "system.ode", "Polynomial": "system.ode", "Chebyshev": "system.ode",
    "Fourier": "system.ode", "Wavelet": "system.ode", "Pad": "system.ode", "Coordinates": "system.ode",
    "adopt": "system.adopt", "AdoptedSystem": "system.adopt", "Branch": "system.adopt", "make_model": "system.adopt",
    "source_of": "system.adopt", "register_model": "system.adopt", "save_system": "system.adopt",
    "load_system": "system.adopt",
    "TransformerSystem": "system.transformer", "Patches": "system.transformer", "TokenIds": "system.transformer",
    "TokenVectors": "system.transformer",
    "PairedSystem": "system.paired", "DiscreteSystem": "system.discrete", "DiscreteResidualSystem": "system.discrete",
    "DiscreteLayer": "system.discrete", "DiscreteLinear": "system.discrete", "DiscreteConv2d": "system.discrete",
    "DepthGrid": "discretization.grid", "Tableau": "discretization.tableau",
    "EULER": "discretization.tableau", "MIDPOINT": "discretization.tableau", "HEUN": "discretization.tableau",
    "RK4": "discretization.tableau", "Network": "discretization.network", "discretize": "discretization.discretize",
    "refine": "discretization.refine",
    "Noise": "discretization.noise", "stochastic_depth": "discretization.drivers",
    "branch_dropout": "discretization.drivers", "two_point": "discretization.drivers",
    "gaussian": "discretization.drivers",
    "shake_shake": "discretization.drivers", "Amplified": "discretization.amplitude",
    "Law": "discretization.law", "TwoPoint": "discretization.law",
    "Gaussian": "discretization.law", "Uniform": "discretization.law",
    "Held": "discretization.held",
    "limit_sde": "discretization.limit", "LimitSDE": "discretization.limit",
    "NotSmoothWarning": "discretization.limit",
    "Trajectory": "trajectory.rollout", "rollout": "trajectory.rollout",
    "Solution": "trajectory.solution", "Solver": "trajectory.solver", "Solved": "trajectory.solved",
    "dense_output": "trajectory.dense", "DenseOutput": "trajectory.dense",
    "solve_sde": "trajectory.sde", "brownian": "trajectory.brownian", "NeuralSDE": "trajectory.neural_sde",
    "Segmented": "trajectory.segments", "Driver": "discretization.driver", "Controls": "discretization.controls",
    "Cost": "problem.cost", "SoftCrossEntropy": "problem.cost", "CrossEntropy": "problem.cost",
    "Distillation": "problem.cost", "SquaredError": "problem.cost", "SquaredHinge": "problem.hinge",
    "TorchLoss": "problem.torch_loss", "NextToken": "problem.language",
    "Weighted": "problem.weighted", "PathCost": "problem.path_cost",
    "DepthCost": "problem.stopping", "stopping_law": "problem.stopping", "stopping_gain": "problem.stopping",
    "DiminishingReturns": "problem.stopping", "returns_bound": "problem.stopping", "ReturnsBound": "problem.stopping",
    "loss_lipschitz": "problem.stopping",
    "Problem": "problem.ocp", "Objective": "problem.ocp", "optimality_ratios": "problem.optimality",
    "costate_sweep": "problem.costate", "Costates": "problem.costate",
    "discrete_slopes": "problem.slopes",
    "ErrorEstimate": "problem.error_estimate", "ErrorTerms": "problem.error_estimate",
    "indicators": "problem.refinement", "Indicators": "problem.refinement",
    "adapt": "problem.refinement", "Adapted": "problem.refinement",
    "look": "problem.waking", "Look": "problem.waking",
    "hamiltonians": "problem.hamiltonian", "Hamiltonians": "problem.hamiltonian",
    "explicit_regulariser": "problem.regulariser", "Regulariser": "problem.regulariser",
    "check_gradients": "problem.gradients", "GradientCheck": "problem.gradients",
    "readout_features": "problem.stopping", "stopping_costs": "problem.stopping",
    "snell_envelope": "problem.stopping", "Envelope": "problem.stopping",
    "StageCost": "training.stage_cost", "Price": "training.stage_cost", "affordable_draws": "training.draws",
    "fit": "training.loop", "Plan": "training.loop", "MSA": "training.msa", "EMSA": "training.msa",
    "make_method": "training.methods",
    "sparsify": "training.active", "heal": "training.heal",
    "diagnose": "diagnosis.diagnose", "Diagnosis": "diagnosis.diagnose",
    "Certificate": "diagnosis.certificate", "certify": "diagnosis.certificate",
    "upper_limit": "diagnosis.certificate", "arrival": "diagnosis.arrival", "Arrival": "diagnosis.arrival",
    "calibration": "diagnosis.calibration", "Calibration": "diagnosis.calibration",
    "monte_carlo": "diagnosis.uncertainty", "Predictive": "diagnosis.uncertainty",
    "preserves_equilibria": "diagnosis.equilibria", "Preservation": "diagnosis.equilibria",
    "loss_landscape": "diagnosis.landscape", "Landscape": "diagnosis.landscape",
    "largest_curvature": "diagnosis.curvature", "Curvature": "diagnosis.curvature",
    "fixed_points": "diagnosis.fixed_points", "FixedPoints": "diagnosis.fixed_points",
    "FixedPoint": "diagnosis.fixed_points", "portrait": "diagnosis.portrait", "Portrait": "diagnosis.portrait",
    "value_function": "diagnosis.kolmogorov", "ValueFunction": "diagnosis.kolmogorov",
    "weak_order": "diagnosis.weak_order", "WeakOrder": "diagnosis.weak_order",
    "Policy": "policies", "FixedDepth": "policies", "Threshold": "policies",
    "Readings": "policies", "read_exits": "policies", "family": "policies", "fit_policy": "policies",
    "look_ahead": "policies", "continuation": "policies", "Regressed": "policies", "guarantee": "policies",
    "Guarantee": "policies", "Outcome": "policies", "follow": "policies",
    "stopping_depths": "policies", "policy_from": "policies",
    "free_boundary": "policies.free_boundary", "FreeBoundary": "policies.free_boundary",
    "fit_expected_loss": "policies.free_boundary", "ExpectedLoss": "policies.free_boundary",
    "crop": "cropping", "deepen": "cropping", "shorten": "cropping",
    "measure": "measuring", "Measure": "measuring", "Model": "inference",
    "EarlyExit": "inference", "Exited": "inference", "measured_drops": "inference",
    "what_pays": "inference", "Paying": "inference",
    "save_packed": "packing", "load_packed": "packing", "summarise": "packing", "Summary": "packing",
    "sparse_model": "packing", "Sparse": "packing",
    "DepthSearch": "search.depth", "GrowthSearch": "search.grow", "Found": "search.found",
    "Protocol": "search.protocol", "crop_horizon": "search.horizon", "HorizonCrop": "search.horizon",
    "Sweeps": "search.sweeps", "Rivals": "search.rivals",
    "export": "exporting", "export_exits": "exporting", "load_model": "exporting", "save_model": "exporting",
    "run": "pipeline", "resume": "pipeline",
    "ResidualClassifier": "estimator.residual", "NeuralODEClassifier": "estimator.neural_ode",
    "ResidualRegressor": "estimator.residual", "NeuralODERegressor": "estimator.neural_ode",
}  # fmt: skip

__all__ = ["__version__", "data", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "data":
        return import_module("node_oc.data")
    if name not in _HOME:
        raise AttributeError(f"module 'node_oc' has no attribute {name!r}")
    value = getattr(import_module(f"node_oc.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
