"""Noise: what the theory of noisy residual networks says, measured."""
