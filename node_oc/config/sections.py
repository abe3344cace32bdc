"""The sections of a configuration: every key with its type, range, default, meaning and unit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# The pattern also makes pydantic refuse lone surrogates, which no TOML file can hold.
Text = Annotated[str, Field(pattern=r"^[^\x00]+$")]
# TOML has lists only. Strict thereafter: lax pydantic would walk any iterable, even an endless one.
Names = Annotated[tuple[Text, ...], BeforeValidator(lambda got: tuple(got) if isinstance(got, list) else got)]
Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(lambda got: tuple(got) if isinstance(got, list) else got)
]
Overrides = Mapping[str, Any] | Sequence[str]


def _for_toml(given: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments that a TOML file can hold: no None, and nothing that JSON cannot hold either."""
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"made of text, numbers, true, false, lists and tables: {error}") from error
    if _has_none(given):
        raise ValueError("without null: leave the argument out")
    return given


def _has_none(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return value is None or any(map(_has_none, inner))


Arguments = Annotated[dict[Text, Any], AfterValidator(_for_toml)]


class Section(BaseModel):
    """Base of the sections: frozen, no unknown fields, no silent casts ("20" or True is no number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def changed(self) -> list[str]:
        """The fields that are not what they are by default."""
        default = type(self)()
        return [name for name in type(self).model_fields if getattr(self, name) != getattr(default, name)]


# fmt: off
class DataSection(Section):
    """What is learned from, and how it is split."""

    source: Literal["spirals", "digits", "idx", "table"] = Field(
        default="spirals", description="where samples come from")
    path: Text | None = Field(default=None, description="file or folder, source idx or table")
    target: Text | None = Field(default=None, description="column to predict, source table")
    task: Literal["classification", "regression"] | None = Field(
        default=None, description="kind of target; left out means classification")
    drop: Names = Field(default=(), description="columns to leave out, source table")
    turns: float = Field(default=1.5, gt=0, description="turns of each arm, source spirals")
    train: int = Field(default=1000, ge=2, description="training points drawn, source spirals")
    val: int = Field(default=10000, ge=2, description="validation points drawn, source spirals")
    test: int = Field(default=10000, ge=2, description="test points drawn, source spirals")
    val_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of samples kept for validation")
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of samples kept for the test")
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the draw or of the split")


class SystemSection(Section):
    """The residual network: what is controlled, and how depth is stepped."""

    kind: Literal["dense", "conv", "transformer", "adopted", "discrete", "discrete_residual"] = Field(
        default="dense", description="what a step is made of")
    model: Text | None = Field(default=None, description="name of the model, as of node-oc adopt, kind adopted")
    arguments: Arguments = Field(default={}, description="keyword arguments of the model, kind adopted")
    depth: int = Field(
        default=20, ge=1, le=10000,
        description="residual steps N, two of them a block of kind transformer; those of the model, kind adopted")
    width: int = Field(
        default=32, ge=1,
        description="state size D, numbers per sample, kind dense, discrete_residual; per token, kind transformer")
    hidden: int = Field(
        default=32, ge=1,
        description="hidden units of a branch, kind dense, discrete_residual; of an MLP branch, kind transformer")
    heads: int = Field(default=4, ge=1, description="heads of attention, a divisor of the width, kind transformer")
    patch: int = Field(
        default=1, ge=1, description="side of a patch, pixels; 1 makes each number a token, kind transformer")
    channels: Sizes = Field(default=(8, 16, 32), min_length=1, description="channels of each stage, kind conv")
    image: Sizes = Field(
        default=(),
        description="channels, rows, columns; empty for a grey square, kind conv or transformer; shape of one input, "
        "kind adopted")
    activation: Literal["tanh", "relu", "gelu"] = Field(default="tanh", description="nonlinearity")
    lift: Literal["linear", "pad"] = Field(default="linear", description="how inputs become states")
    head: Literal["linear", "coordinates"] = Field(default="linear", description="how states are read out")
    step: float = Field(default=1.0, gt=0, description="step size h, time per residual step")
    table: Literal["euler", "midpoint", "heun", "rk4"] = Field(default="euler", description="one-step method")
    row_norm: float = Field(default=1.0, ge=0, description="norm that inner weight rows are kept at; 0 for free rows")
    layers: Names = Field(
        default=("2048", "2048", "2048"),
        description="layers before the last: 2048 linear, 128C3 convolution, MP2 pool, D0.5 dropout, kind discrete")
    values: Literal["binary", "ternary"] = Field(
        default="ternary", description="what weights may be: -1, 1 or -1, 0, 1, kind discrete, discrete_residual")
    branches: int = Field(default=1, ge=1, le=2, description="branches of a step; of two, for shake_shake, the mean")


class ProblemSection(Section):
    """What is optimised."""

    cost: Literal["soft_cross_entropy", "cross_entropy", "squared_hinge"] = Field(
        default="soft_cross_entropy", description="cost of a readout in classification")
    eps: float = Field(default=0.1, gt=0, lt=1, description="soft target mass off the true class")
    stage_weight: float = Field(default=1.0, ge=0, description="stage cost weight gamma, per unit of time")
    price: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        default="auto", description="price of one layer in units of the cost, or auto to search for it")
    energy: float = Field(default=0.0, ge=0, description="weight of squared controls, per unit of time")
    depth_cost: float = Field(
        default=0.0, ge=0, description="cost of a layer in L_depth, the expected cost of stopping early; 0 for none")
    depth_temperature: float = Field(
        default=0.01, gt=0, description="temperature of L_depth's stopping law at the end, in units of the cost")
    depth_weight: float = Field(default=1.0, gt=0, description="weight of L_depth")
    returns: float | None = Field(
        default=None, gt=0, lt=1, description="increments shall shrink by this factor a step, or a penalty is due")
    returns_weight: float = Field(default=0.1, gt=0, description="weight of that penalty")


class TrainingSection(Section):
    """How it is optimised, where, and how often it is saved."""

    method: Literal["gradient", "msa", "emsa"] = Field(
        default="gradient", description="gradients, or every layer minimises its own Hamiltonian: basic, extended")
    emsa_rho: float = Field(
        default=10.0, gt=0, description="method emsa: weight of the penalties on what makes the sweeps untrue")
    emsa_iterations: int = Field(default=10, ge=1, description="method msa or emsa: iterations of L-BFGS in each layer")
    epochs: int = Field(default=60, gt=0, description="passes over the training set")
    min_updates: int = Field(default=1000, ge=0, description="gradient steps at least, for small sets")
    batch: int = Field(default=64, ge=0, description="samples per gradient step; 0 for all")
    learning_rate: float = Field(default=3e-3, gt=0, description="learning rate")
    beta2: float = Field(default=0.99, gt=0, lt=1, description="decay of the mean of squared gradients")
    clip: float = Field(default=2.0, ge=0, description="gradient norm limit, times its mean; 0 for none")
    msa_rho: float = Field(default=0.5, ge=0, le=1, description="discrete weights: inertia, share of the largest slope")
    msa_forget: float = Field(
        default=1e-3, gt=0, le=1, description="discrete weights: 1 - alpha of the mean of slopes, first epoch")
    msa_decay: float = Field(default=0.95, gt=0, le=1, description="discrete weights: factor of 1 - alpha per epoch")
    msa_sparsity: float = Field(default=1e-7, ge=0, description="ternary weights: price of one that is not zero")
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of initial weights and batch order")
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = Field(default="cpu", description="kind of device")
    threads: int = Field(default=0, ge=0, description="CPU threads; 0 for torch's own choice")
    devices: int = Field(default=1, ge=1, description="number of devices")
    precision: Literal["32-true", "bf16-mixed", "64-true"] = Field(
        default="32-true", description="floating point bits and mode")
    compile: bool = Field(
        default=False, description="compile each training with torch.compile, and weigh what it costs")
    gradient_checkpointing: bool = Field(
        default=False,
        description="compute states again on the way back: memory like sqrt(N), one more pass; not with compile")
    solver: Literal["table", "dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"] = Field(
        default="table", description="the system's table, or an adaptive solver between the points of its grid")
    tolerance: float = Field(default=1e-6, gt=0, description="rtol and atol of an adaptive solver")
    adjoint: bool = Field(
        default=False, description="adaptive solver: gradient by the continuous adjoint; see check_gradients first")
    driver: Literal["time", "stochastic_depth", "branch_dropout", "two_point", "gaussian", "shake_shake"] = Field(
        default="time", description="what drives a step while training: time, or noise")
    driver_keep: float = Field(
        default=0.8, gt=0, le=1,
        description="survival or keep probability; two_point and gaussian have the variance that it gives, (1-p)/p")
    driver_p: float = Field(default=0.5, gt=0, lt=1, description="two_point: probability of the upper value")
    driver_per: Literal["unit", "channel", "sample"] | None = Field(
        default=None, description="what has noise of its own; left out: sample for stochastic_depth, unit otherwise")
    driver_decay: bool = Field(
        default=False, description="stochastic_depth: survival falls linearly with depth, from 1 to driver_keep")
    driver_fresh: bool = Field(
        default=False, description="a table of several stages draws for every stage, and not once a step")
    driver_explicit: bool = Field(
        default=False,
        description="draw no noise: what the driver adds to J in the mean, to leading order, becomes a cost")
    checkpoint_seconds: float = Field(default=10.0, ge=0, description="least seconds between checkpoints")


class SearchSection(Section):
    """How the depth is chosen."""

    way: Literal["grow", "cut"] = Field(
        default="grow", description="grow from two layers, or cut a deep network that is trained first")
    budget: float = Field(default=0.005, ge=0, lt=1, description="accuracy given up for depth, a fraction")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="confidence of the depth certificate")
    certify: bool = Field(default=False, description="choose the depth by the paired certificate")
    heal: bool = Field(default=True, description="train on after a crop")
    distil: bool = Field(default=False, description="heal towards the full network's outputs, not the labels")
    plain: bool = Field(default=True, description="train the plain neighbour")
    flops: float | None = Field(
        default=None, gt=0, lt=1, description="share of the full network's FLOPs that may be left, way cut")
    latency: float | None = Field(
        default=None, gt=0, lt=1, description="share of the full network's median latency that may be left, way cut")
    latency_batch: int = Field(default=1, ge=1, description="batch size of that latency")


class ExportSection(Section):
    """Which files a finished run leaves beside the safetensors."""

    onnx: bool = Field(default=True, description="write an ONNX file")
    torch_export: bool = Field(default=True, description="write a torch.export program")
# fmt: on


SECTIONS: dict[str, type[Section]] = {
    "data": DataSection,
    "system": SystemSection,
    "problem": ProblemSection,
    "training": TrainingSection,
    "search": SearchSection,
    "export": ExportSection,
}
KEYS = {f"{name}.{key}": info for name, kind in SECTIONS.items() for key, info in kind.model_fields.items()}
"""Every key, "section.key" -> its field: default, description, range."""
