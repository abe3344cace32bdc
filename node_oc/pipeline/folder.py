"""The directory of a run: what its files are called, and what can be read from them."""

from __future__ import annotations

from pathlib import Path

import torch

from node_oc.config import Config
from node_oc.cropping import deepen
from node_oc.discretization import Network
from node_oc.errors import ConfigError, StoreError
from node_oc.exporting import load_model
from node_oc.seeds import derived_generator
from node_oc.training.checkpoint import CHECKPOINT, read_weights

RUN, CONFIG, TRAININGS, COMPARE, START = "run.json", "config.toml", "trainings", "compare", "start"
LOOKS = "looks at sleeping steps"  # in the work of a run, beside its trainings


def read_config(folder: str | Path) -> Config:
    """The configuration of a run directory."""
    if not (Path(folder) / CONFIG).exists():
        raise StoreError(str(folder), got=f"no {CONFIG} in it", expected="the directory of a run",
                         do="Give the directory that `node-oc run` or `node-oc fit` wrote.")  # fmt: skip
    return Config.load(Path(folder) / CONFIG)


def check_skips(config: Config, what: str) -> None:
    """Raise ConfigError where a run is that of a chain, for what asks every layer or cuts."""
    if config.system.kind == "discrete":
        raise ConfigError(f"node-oc {what}", got="a run of a chain without skips, system.kind=discrete",
                          expected="a network with skips, whose every layer can be read out or left out",
                          do="A chain is read by predict, export, pack, summary; use system.kind=discrete_residual."
                          )  # fmt: skip


def read_network(folder: str | Path, which: str = "full") -> Network:
    """A network of a run: "full", "cropped", "plain" or "priced"; of an interrupted run the full one as it is.

    Where a network grew, "full" is the deepest that was tried, "priced" the answer before its refit with all the room
    that it had, and of an interrupted run the full one is what was trained last.

    Raises:
        StoreError: the run has no such network (yet).
    """
    folder = Path(folder)
    if (folder / f"{which}.json").exists():
        return load_model(folder / which).network
    trainings = sorted((folder / TRAININGS).glob(f"*/{CHECKPOINT}"), key=lambda file: file.stat().st_mtime_ns)
    known = {file.parent.name: file.parent for file in trainings}
    if which == "full" and known:
        spec, weights, _ = read_weights(known.get("reference", trainings[-1].parent))
        network = Network.from_spec(spec)
        network.to(next(iter(weights.values())).dtype)
        network.load_state_dict(weights)
        return network.eval()
    have = sorted(p.stem for p in folder.glob("*.safetensors"))
    raise StoreError(str(folder), got=f"no network {which!r}; it has {have or 'none yet'}",
                     expected="a trained network",
                     do="Continue the run with `node-oc resume`, or choose another network.")  # fmt: skip


def read_start(config: Config, folder: Path) -> Network:
    """The trained network that a run began with, with room for the depth that is allowed."""
    network = load_model(folder / START).network
    if config.system.kind == "adopted":
        return network
    return deepen(network, config.system.depth, start_generator(config))


def start_generator(config: Config) -> torch.Generator:
    """Where the weights of the layers come from that a network is given room for."""
    return derived_generator(config.training.seed, "weights", START, config.system.depth)
