"""Neural ODEs: a field, a control that is a function of time, and the residual system that equals them on a grid."""

from node_oc.system.ode.basis import BASES, Basis, Chebyshev, Fourier, Piecewise, Polynomial, Wavelet, basis_from
from node_oc.system.ode.neural_ode import NeuralODE, ode_from
from node_oc.system.ode.parts import Coordinates, Pad
from node_oc.system.ode.unrolled import UnrolledSystem, unrolled_from
from node_oc.system.ode.vector_field import ConvVectorField, DenseVectorField, VectorField, register_field

__all__ = ["BASES", "Basis", "Chebyshev", "ConvVectorField", "Coordinates", "DenseVectorField", "Fourier", "NeuralODE",
           "Pad", "Piecewise", "Polynomial", "UnrolledSystem", "VectorField", "Wavelet", "basis_from", "ode_from",
           "register_field", "unrolled_from"]  # fmt: skip
