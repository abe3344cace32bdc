"""A finished run under noise: what each driver does to its networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from node_oc import store
from node_oc.config import KEYS, Config
from node_oc.data.split import Part, Split
from node_oc.diagnosis.noisy import Noisy, noisy
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.errors import ConfigError, StoreError
from node_oc.pipeline.folder import RUN, check_skips, read_config, read_network
from node_oc.pipeline.objects import load_split, make_problem
from node_oc.plots import draw_noise
from node_oc.record.noise import make_noise_record
from node_oc.report import write_noise
from node_oc.training.driver import noise_of

NOISE = "noise"
NETWORKS = ("full", "cropped")
KINDS: tuple[str, ...] = tuple(kind for kind in get_args(KEYS["training.driver"].annotation) if kind != "time")


def study_noise(
    folder: str | Path, drivers: Sequence[str] | None = None, *, keep: float | None = None,
    which: Sequence[str] | None = None, part: str = "test", samples: int = 1000, passes: int = 64, seed: int = 0,
    out: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Drive the networks of a run by noise, and write what it does as JSON, HTML and pictures.

    Args:
        folder: the directory of the run.
        drivers: by their names in the configuration; all that the networks can take if None.
        keep: survival or keep probability; that of the run, for the run's own driver with all its options, if None.
        which: networks of the run; "full" and "cropped", where there are any, if None.
        part: "train", "val" or "test".
        samples: so many of its first samples are looked at.
        passes: noisy passes of each.
        seed: of the passes.
        out: where the record goes, without ending; RUN/noise if None. Pictures go beside it.

    Returns:
        The record that the JSON file holds.

    Raises:
        StoreError: no run, or none of its networks has a step that noise could drive.
        ConfigError: a driver that a network cannot take, where it was named; numbers out of range.
    """
    folder = Path(folder)
    config, about = read_config(folder), store.read_json(folder / RUN)
    check_skips(config, "noise")
    split = load_split(config)
    whole: Part = getattr(split, part)
    looked = Part(whole.x[:samples], whole.y[:samples])
    noises = [(_label(kind, keep, config), _noise(kind, keep, config)) for kind in drivers or KINDS]
    found: dict[str, tuple[int, list[Noisy]]] = {}
    left_out: dict[str, str] = {}
    for name in which or [n for n in NETWORKS if n == "full" or (folder / f"{n}.json").exists()]:
        network = read_network(folder, name)
        if not network.awake:
            left_out[name] = "It has no step that noise could drive."
            continue
        answers = []
        for label, noise in noises:
            try:
                noise.on(network.system)
            except ConfigError as error:
                if drivers:
                    raise
                left_out[label] = str(error)
                continue
            answers.append(_ask(network, noise, label, name, config, split, looked, passes, seed))
        found[name] = (network.depth, answers)
    if not found:
        raise StoreError(str(folder), got="networks without a residual step", expected="one that noise could drive",
                         do="Choose another network with --which, or another run.")  # fmt: skip
    own = None if config.training.driver == "time" else _label(config.training.driver, None, config)
    own = f"the explicit regulariser of {own}" if own and config.training.driver_explicit else own
    record = make_noise_record(about["name"], config, part, seed, own, found, left_out)
    stem = folder / NOISE if out is None else Path(out)
    store.write_json(f"{stem}.json", record)
    write_noise(record, stem, draw_noise(record, stem))
    return record


def _ask(
    network: Network, noise: Noise, label: str, name: str, config: Config, split: Split, part: Part, passes: int,
    seed: int,
) -> Noisy:  # fmt: skip
    """For the full network J is the run's without path costs, for the others what they were trained for, terminal."""
    problem = replace(make_problem(config, split).priced(0.0), path_costs=())
    problem = problem if name in ("full", "priced") else problem.terminal_only()
    return noisy(network, noise, problem, part, split.task, name=label, passes=passes, seed=seed,
                 budget=config.search.budget)  # fmt: skip


def _noise(kind: str, keep: float | None, config: Config) -> Noise:
    """The noise of that name: the run's own one with all its options, unless another probability is asked for."""
    options = config.training
    if kind != options.driver or keep is not None:
        plain = {"driver_p": 0.5, "driver_per": None, "driver_decay": False, "driver_fresh": False}
        keep = options.driver_keep if keep is None else keep
        options = options.model_copy(update={**plain, "driver": kind, "driver_keep": keep})
    noise = noise_of(options)
    if noise is None:
        raise ConfigError("driver", got=repr(kind), expected=", ".join(KINDS), do="Name a noise.")
    return noise


def _label(kind: str, keep: float | None, config: Config) -> str:
    chance = config.training.driver_keep if keep is None else keep
    return kind.replace("_", " ") + ("" if kind == "shake_shake" else f", keep {chance:g}")
