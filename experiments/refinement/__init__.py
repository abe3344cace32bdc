"""Layers where the field needs them: uniform and adaptive depth grids."""
