"""A trained network in use: raw features in, classes or units out; as deep as each sample needs, where that pays."""

from node_oc.inference.drops import measured_drops
from node_oc.inference.early_exit import EarlyExit, Exited
from node_oc.inference.model import Model, noise_meta
from node_oc.inference.paying import Paying, Timed, what_pays

__all__ = ["EarlyExit", "Exited", "Model", "Paying", "Timed", "measured_drops", "noise_meta", "what_pays"]
