"""A trained network in use: raw features in, classes or units out; at every depth, or as deep as a sample needs."""

from node_oc.inference.early_exit import EarlyExit, Exited
from node_oc.inference.model import Model, noise_meta

__all__ = ["EarlyExit", "Exited", "Model", "noise_meta"]
