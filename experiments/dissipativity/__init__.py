"""arXiv 2405.19013: stage costs, the turnpike, and the layers that are not needed."""
