"""The depth that a budget allows: grown while training, or cut from a deep network; and what others would do."""

from node_oc.search.afford import Afforded, CostBudget
from node_oc.search.compared import Compared, Rival
from node_oc.search.depth import PRICES, DepthSearch
from node_oc.search.found import Candidate, Found, Growth, Priced, Window
from node_oc.search.grow import GrowthSearch
from node_oc.search.horizon import HorizonCrop, crop_horizon
from node_oc.search.influence import block_influence
from node_oc.search.protocol import Protocol
from node_oc.search.rivals import Rivals
from node_oc.search.sweeps import Sweeps

__all__ = [
    "PRICES", "Afforded", "Candidate", "Compared", "CostBudget", "DepthSearch", "Found", "Growth", "GrowthSearch",
    "HorizonCrop", "Priced", "Protocol", "Rival", "Rivals", "Sweeps", "Window", "block_influence", "crop_horizon",
]  # fmt: skip
