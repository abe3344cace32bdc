"""A Transformer as a controlled system: what its tokens are, its two kinds of branch, and the system."""

from node_oc.system.transformer.tokens import Patches, TokenIds, Tokens, TokenVectors
from node_oc.system.transformer.transformer import TransformerSystem

__all__ = ["Patches", "TokenIds", "TokenVectors", "Tokens", "TransformerSystem"]
