"""Memory that a step gives back is there for the next one, without page faults."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from node_oc.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    kept = [torch.ones(2**18) for _ in range(80)]
for _ in range(3): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.long
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt and its thresholds are glibc's")
def test_page_faults_stop() -> None:
    # What imports have freed may have taught glibc already: these variables start every process alike.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    faults = {}
    for way in ("leave", "keep"):
        run = subprocess.run([sys.executable, "-c", PROGRAM, way], env=env, check=True, capture_output=True)
        faults[way] = int(run.stdout)
    assert faults["keep"] < 2_000 < faults["leave"], faults  # 20 steps of 80 MiB
