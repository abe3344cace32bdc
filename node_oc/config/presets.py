"""The built-in runs."""

from __future__ import annotations

from typing import Any

# fmt: off
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "spirals": {
        "data": {"source": "spirals"},
        "system": {"depth": 20, "width": 8, "hidden": 16, "activation": "tanh", "lift": "pad",
                   "head": "coordinates"},
        "problem": {"eps": 0.05},
        "training": {"epochs": 3000, "batch": 0, "learning_rate": 5e-3, "threads": 1}},
    "digits": {
        "data": {"source": "digits"},
        "system": {"depth": 16, "width": 32, "hidden": 32, "activation": "tanh"},
        "training": {"epochs": 60, "batch": 64, "learning_rate": 3e-3, "threads": 1}},
    "mnist": {
        "data": {"source": "idx"},
        "system": {"depth": 20, "width": 128, "hidden": 128, "activation": "relu"},
        "training": {"epochs": 10, "batch": 256, "learning_rate": 2e-3}},
    "mnist-conv": {
        "data": {"source": "idx"},
        "system": {"kind": "conv", "depth": 18, "activation": "relu"},
        "training": {"epochs": 10, "batch": 128, "learning_rate": 2e-3}},
    "digits-ternary": {
        "data": {"source": "digits"},
        "system": {"kind": "discrete", "layers": ("256", "256"), "values": "ternary"},
        "problem": {"cost": "cross_entropy", "stage_weight": 0.0},
        "training": {"epochs": 60, "batch": 64, "learning_rate": 1e-3, "beta2": 0.999, "clip": 0.0, "threads": 1,
                     "msa_rho": 0.25, "msa_forget": 0.1, "msa_sparsity": 2e-4}},
    "mnist-binary": {
        "data": {"source": "idx"},
        "system": {"kind": "discrete", "layers": ("2048", "2048", "2048"), "values": "binary"},
        "problem": {"cost": "squared_hinge", "stage_weight": 0.0},
        "training": {"epochs": 10, "batch": 100, "learning_rate": 1e-3, "beta2": 0.999, "clip": 0.0, "msa_rho": 0.5}},
    "mnist-ternary": {
        "data": {"source": "idx"},
        "system": {"kind": "discrete", "layers": ("2048", "2048", "2048"), "values": "ternary"},
        "problem": {"cost": "cross_entropy", "stage_weight": 0.0},
        "training": {"epochs": 10, "batch": 100, "learning_rate": 1e-3, "beta2": 0.999, "clip": 0.0, "msa_rho": 0.25}},
    "digits-transformer": {
        "data": {"source": "digits"},
        "system": {"kind": "transformer", "depth": 8, "width": 32, "hidden": 64, "patch": 2, "activation": "gelu"},
        "training": {"epochs": 30, "batch": 64, "learning_rate": 3e-3, "threads": 1}},
    "mnist-transformer": {
        "data": {"source": "idx"},
        "system": {"kind": "transformer", "depth": 24, "width": 64, "hidden": 128, "patch": 7, "activation": "gelu"},
        "training": {"epochs": 10, "batch": 128, "learning_rate": 2e-3}},
}
# fmt: on
