"""One typed configuration: sections of fields with units, checked as a whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from node_oc.config.overrides import nearest_key, pairs_of, read_base, toml_value
from node_oc.config.presets import PRESETS
from node_oc.config.sections import (
    KEYS,
    SECTIONS,
    DataSection,
    ExportSection,
    Overrides,
    ProblemSection,
    SearchSection,
    SystemSection,
    TrainingSection,
)
from node_oc.errors import ConfigError

# Fields of the system that have no meaning for each kind.
_ATTENTION = ("heads", "patch")
_STEPPED = ("step", "table", "branches")
_DRAWN = ("channels", "activation", "lift", "head", "row_norm", "model", "arguments")
OF_OTHERS = {
    "dense": ("channels", "image", "model", "arguments", "layers", "values", *_ATTENTION),
    "conv": ("width", "hidden", "lift", "head", "model", "arguments", "layers", "values", *_ATTENTION),
    "transformer": ("channels", "lift", "head", "branches", "model", "arguments", "layers", "values"),
    "adopted": ("depth", "width", "hidden", "channels", "activation", "lift", "head", "row_norm", "layers", "values",
                *_STEPPED, *_ATTENTION),
    "discrete": ("depth", "width", "hidden", *_DRAWN, *_STEPPED, *_ATTENTION),
    "discrete_residual": ("image", "layers", "branches", *_DRAWN, *_ATTENTION),
}  # fmt: skip


class Config(BaseModel):
    """The whole configuration; build it with `load`, `preset` or `replace` for errors that teach.

    Attributes:
        data: what is learned from, and how it is split.
        system: the residual network.
        problem: what is optimised.
        training: how it is optimised.
        search: how the depth is chosen.
        export: which files are written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSection = Field(default=DataSection())
    system: SystemSection = Field(default=SystemSection())
    problem: ProblemSection = Field(default=ProblemSection())
    training: TrainingSection = Field(default=TrainingSection())
    search: SearchSection = Field(default=SearchSection())
    export: ExportSection = Field(default=ExportSection())

    @model_validator(mode="after")
    def _agree(self) -> Self:
        data, head, given = self.data, self.system.head, f"with data.source={self.data.source}"
        system, default = self.system, SystemSection()
        other = OF_OTHERS[system.kind]
        unused = next((name for name in other if getattr(system, name) != getattr(default, name)), None)
        steps = system.kind == "conv" and len(system.channels) > 1 and system.table != "euler"
        adopted, search = system.kind == "adopted", self.search
        costs = [key for key in ("flops", "latency") if getattr(search, key) is not None]
        table, regression, held = data.source == "table", data.task == "regression", "data.val_fraction"
        files, rest = table or data.source == "idx", 1 - data.val_fraction - data.test_fraction
        training, noisy, problem = self.training, self.training.driver != "time", self.problem
        chain, discrete = system.kind == "discrete", system.kind.startswith("discrete")
        sought = next((name for name in search.changed() if chain), None)
        unread = ("msa_",) * (not discrete) + ("emsa_",) * (training.method == "gradient")
        idle = next((name for name in training.changed() if name.startswith(unread)), None)
        rules = [  # (broken, key, got, expected, do)
            (noisy and training.solver != "table", "training.driver",
             f"{training.driver} with training.solver={training.solver}", "a table",
             "Leave one out: an adaptive solver would shrink its steps without end to follow noise."),
            (noisy and training.compile, "training.compile", f"true with training.driver={training.driver}", "false",
             "Leave one out: noise is drawn from a generator for each layer, which a compiled graph cannot hold."),
            (training.driver == "shake_shake" and adopted, "training.driver", "shake_shake with system.kind=adopted",
             "a driver for one branch a step", "Use stochastic_depth or branch_dropout."),
            (training.driver == "shake_shake" and system.branches != 2, "training.driver",
             "shake_shake with system.branches=1", "two branches a step", "Set system.branches=2."),
            (training.driver_decay and training.driver != "stochastic_depth", "training.driver_decay",
             f"true with training.driver={training.driver}", "stochastic_depth", "Leave it out."),
            (training.driver_per is not None and training.driver in ("time", "shake_shake", "stochastic_depth"),
             "training.driver_per", f"{training.driver_per} with training.driver={training.driver}",
             "branch_dropout, two_point or gaussian", "Leave it out: the other ones know."),
            (training.driver_p != 0.5 and training.driver != "two_point", "training.driver_p",
             f"{training.driver_p} with training.driver={training.driver}", "two_point", "Leave it out."),
            (training.driver_keep != 0.8 and training.driver in ("time", "shake_shake"), "training.driver_keep",
             f"{training.driver_keep} with training.driver={training.driver}", "a driver that has it",
             "Leave it out." if noisy else "Set training.driver as well, or leave it out."),
            (training.driver_fresh and (not noisy or (not adopted and system.table == "euler") or adopted),
             "training.driver_fresh", f"true with training.driver={training.driver}, system.table={system.table}",
             "noise, and a table of several stages", "Leave it out: a step of one stage draws once."),
            (training.driver_explicit and not noisy, "training.driver_explicit", "true with training.driver=time",
             "a driver", "Set training.driver: what its noise adds to J is the cost."),
            (training.driver_explicit and training.gradient_checkpointing, "training.gradient_checkpointing",
             "true with training.driver_explicit", "one of the two",
             "Leave one out: a segment has no second derivative."),
            (training.driver_explicit and training.precision == "bf16-mixed", "training.precision",
             "bf16-mixed with training.driver_explicit", "32-true or 64-true",
             "Leave one out: a second derivative needs the digits."),
            (self.training.compile and self.training.gradient_checkpointing, "training.gradient_checkpointing", True,
             "one of compile and gradient_checkpointing", "Leave one out: a compiler plans memory itself."),
            (self.training.compile and self.training.solver != "table", "training.compile",
             f"true with training.solver={self.training.solver}", "a table", "Leave one out: its steps are not known "
             "before it takes them."),
            (self.training.adjoint and self.training.solver == "table", "training.adjoint", "true with a table",
             "an adaptive solver", "Set training.solver=dopri5, or leave it out."),
            (self.training.adjoint and self.training.gradient_checkpointing, "training.adjoint",
             "true with gradient_checkpointing", "one of the two", "Leave one out."),
            (files and data.path is None, "data.path", f"none {given}", "a file or folder", "Set data.path."),
            (not files and data.path is not None, "data.path", f"{data.path!r} {given}", "no path",
             'Set data.source to "table" or "idx", or empty the path with data.path=.'),
            (table and data.target is None, "data.target", f"none {given}", "a column", "Set data.target."),
            (regression and not table, "data.task", f"regression {given}", "table", "Set data.source=table."),
            (regression and head != "linear", "system.head", f"{head} with data.task=regression", "linear",
             "Set system.head=linear."),
            (unused, f"system.{unused}", f"a value with system.kind={system.kind}", "the default",
             "It has no meaning here: leave it out; where a built-in run sets it, start from one of this kind."),
            (system.kind == "conv" and table and not system.image, "system.image", f"none {given}",
             "channels, rows, columns", "Set system.image, or system.kind=dense for a table without pixels."),
            (adopted and system.model is None, "system.model", "none with system.kind=adopted",
             "torchvision:NAME, timm:NAME, hf:CLASS or package.module:function", "Set system.model."),
            (adopted and not system.image, "system.image", "none with system.kind=adopted",
             "the shape of one input", "Set system.image, [3, 32, 32] for a colour image, [64] for 64 features."),
            (adopted and search.way == "grow", "search.way", "grow with system.kind=adopted", "cut",
             "Set search.way=cut: nobody knows what a new branch of your model would be."),
            (adopted and self.training.solver != "table", "training.solver",
             f"{self.training.solver} with system.kind=adopted", "table",
             "Leave it out: the branches of a model are no function of time."),
            (chain and problem.stage_weight > 0, "problem.stage_weight",
             f"{problem.stage_weight} with system.kind=discrete", "0",
             "Set it to 0: a chain has no skips, so no readout but the last; system.kind=discrete_residual has."),
            (chain and noisy, "training.driver", f"{training.driver} with system.kind=discrete", "time",
             "Leave it out: without a skip, a branch that is off hands on nothing. system.layers has dropout, D0.5."),
            (chain and problem.price not in ("auto", 0), "problem.price", f"{problem.price} with system.kind=discrete",
             "auto, or 0", "Leave it out: no layer of a chain can be nothing."),
            (sought, f"search.{sought}", "a value with system.kind=discrete", "the default", "Leave it out."),
            (discrete and training.method == "emsa", "training.method", f"emsa with system.kind={system.kind}",
             "the default", "Leave it out: discrete weights have a rule of their own."),
            (idle, f"training.{idle}", f"a value with system.kind={system.kind}, training.method={training.method}",
             "the default", "Leave it out: msa_ is of discrete weights, emsa_ of training.method=emsa or msa."),
            (discrete and training.compile, "training.compile", f"true with system.kind={system.kind}", "false",
             "Leave it out: slopes in discrete weights are not in a compiled graph."),
            (discrete and training.devices > 1, "training.devices", f"{training.devices} with discrete weights", "1",
             "Leave it out: slopes in discrete weights are not shared among devices."),
            (discrete and training.solver != "table", "training.solver", f"{training.solver} with discrete weights",
             "table", "Leave it out: the layers are no function of time."),
            (discrete and training.gradient_checkpointing, "training.gradient_checkpointing",
             f"true with system.kind={system.kind}", "false", "Leave it out: batch norms would count a batch twice."),
            (regression and problem.cost != "soft_cross_entropy", "problem.cost", f"{problem.cost} with data.task="
             "regression", "the default", "Leave it out: the squared error is what regression has."),
            (problem.cost != "soft_cross_entropy" and problem.eps != 0.1, "problem.eps",
             f"{problem.eps} with problem.cost={problem.cost}", "soft_cross_entropy", "Leave it out."),
            (len(costs) > 1, "search.latency", "a share, with search.flops", "one of the two", "Leave one out."),
            (costs and search.way == "grow", f"search.{costs[0] if costs else ''}", "a share with search.way=grow",
             "search.way=cut", "Cut a network to a cost; one that grows has no full network to have a share of."),
            (steps, "system.table", f"{system.table} with several stages", "euler",
             "Set system.table=euler, or one entry in system.channels."),
            (rest <= 0, held, f"{data.val_fraction} with data.test_fraction={data.test_fraction}",
             "a sum below 1", "Lower one of the two to leave training data."),
        ]  # fmt: skip
        for broken, key, got, expected, do in rules:
            if broken:
                raise ConfigError(key, got=got, expected=expected, do=do)
        return self

    @classmethod
    def load(cls, base: str | Path | None = None, overrides: Overrides = ()) -> Config:
        """Reads a configuration.

        Args:
            base: name of a preset, path of a TOML file, or None for the defaults. A preset wins over a file
                of the same name; write ./spirals for the file.
            overrides: `{"section.key": value}` or `{"section": {"key": value}}`, or strings
                `section.key=value` whose value is TOML or a bare string; an empty value unsets a field.

        Raises:
            ConfigError: a file that cannot be read, a key that does not exist, a value out of range.
        """
        return _build([*pairs_of(read_base(base)), *pairs_of(overrides)])

    @classmethod
    def preset(cls, name: str, overrides: Overrides = ()) -> Config:
        """A named preset with overrides; "mnist" needs data.path. Raises ConfigError on an unknown name."""
        if name not in PRESETS:
            raise ConfigError("preset", got=repr(name), expected=" or ".join(PRESETS), do="Name one of these.")
        return cls.load(name, overrides)

    def replace(self, overrides: Overrides) -> Config:
        """A changed copy, checked like a new configuration; `overrides` and errors as in `load`."""
        return _build([*pairs_of(self.model_dump()), *pairs_of(overrides)])

    def to_toml(self) -> str:
        """All fields as TOML text that `load` reads back to an equal configuration; None is left out."""
        lines: list[str] = []
        for section, fields in self.model_dump().items():
            lines += [f"[{section}]", *(f"{k} = {toml_value(v)}" for k, v in fields.items() if v is not None), ""]
        return "\n".join(lines)

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON: equal configurations have equal digests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _build(pairs: Sequence[tuple[str, Any]]) -> Config:
    """Checks keys, lets later pairs win, and validates."""
    nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for key, value in pairs:
        if key not in KEYS:
            expected, do = nearest_key(key)
            raise ConfigError("configuration key", got=repr(key), expected=expected, do=do)
        if isinstance(value, int) and value.bit_length() > 63:  # Python may refuse to print it
            bits = f"an integer of {value.bit_length()} bits"
            raise ConfigError(key, got=bits, expected=KEYS[key].description, do="Write a smaller number.")
        section, _, name = key.partition(".")
        nested[section][name] = value
    try:
        return Config.model_validate(nested)
    except ValidationError as error:
        raise _translate(error, nested) from error


def _translate(error: ValidationError, nested: dict[str, dict[str, Any]]) -> ConfigError:
    """The first failure of pydantic as a ConfigError that names the key, its meaning and its default."""
    failures = error.errors(include_url=False)
    cause = failures[0].get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    section, name = (str(part) for part in failures[0]["loc"][:2])
    key = f"{section}.{name}"
    here = [f["msg"].removeprefix("Input should be ") for f in failures if f["loc"][:2] == (section, name)]
    default = KEYS[key].default
    example = "leave it out" if default is None else f"write {key}={toml_value(default)}, the default"
    return ConfigError(
        key,
        got=f"{nested[section][name]!r:.80}",
        expected=f"{' or '.join(here)} ({KEYS[key].description})".replace("tuple", "list"),
        do=f"Change it, or {example}.",
    )
