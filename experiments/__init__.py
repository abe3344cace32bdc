"""One folder a paper: what it claims, one command, what came out."""
