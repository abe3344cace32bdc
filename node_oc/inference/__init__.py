"""A trained network in use: raw features in, classes or units out."""

from node_oc.inference.model import Model, noise_meta

__all__ = ["Model", "noise_meta"]
