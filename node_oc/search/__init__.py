"""The price of a layer and the depth: train, raise, crop, heal, select, certify; and what others would do."""

from node_oc.search.compared import Compared, Rival
from node_oc.search.depth import PRICES, DepthSearch
from node_oc.search.found import Candidate, Found, Priced
from node_oc.search.influence import block_influence
from node_oc.search.protocol import Protocol
from node_oc.search.rivals import Rivals
from node_oc.search.sweeps import Sweeps

__all__ = ["PRICES", "Candidate", "Compared", "DepthSearch", "Found", "Priced", "Protocol", "Rival", "Rivals",
           "Sweeps", "block_influence"]  # fmt: skip
