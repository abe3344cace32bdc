"""Neural ODEs: memory of a training step, compilation and export, the adjoint on a contracting field."""
