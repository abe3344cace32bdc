"""Discrete weights by the maximum principle (arXiv 1803.01299), beside straight-through and real ones."""
