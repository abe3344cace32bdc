"""The price of a layer and the depth: train, raise, crop, heal, select, certify."""

from node_oc.search.depth import PRICES, DepthSearch
from node_oc.search.found import Candidate, Found, Priced

__all__ = ["PRICES", "Candidate", "DepthSearch", "Found", "Priced"]
