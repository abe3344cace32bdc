"""A run: configuration -> objects -> fit -> search -> report -> export; and what is read from its directory later."""

from node_oc.pipeline.comparing import compare
from node_oc.pipeline.folder import COMPARE, check_skips, read_config, read_network
from node_oc.pipeline.noising import NOISE, study_noise
from node_oc.pipeline.objects import load_split, make_network, make_problem
from node_oc.pipeline.running import heal_network, resume, run
from node_oc.pipeline.stopping import MODEL as STOPPING_MODEL
from node_oc.pipeline.stopping import STOP, stop

__all__ = [
    "COMPARE", "NOISE", "STOP", "STOPPING_MODEL", "check_skips", "compare", "heal_network", "load_split",
    "make_network", "make_problem", "read_config", "read_network", "resume", "run", "stop", "study_noise",
]  # fmt: skip
