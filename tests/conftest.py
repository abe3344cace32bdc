"""Here so that pytest puts tests/ on the path: its helper modules are shared by the folders below."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # one thread a process: the suite runs in as many processes as there are cores

from experiments import missing_operators  # noqa: F401
