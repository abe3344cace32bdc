"""A worker seen from outside: start it, ask it, stop it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"JAX_PLATFORMS": "cpu", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
"""No GPU that only one of the peers would take; what is compiled is compiled anew, so that its time is known."""


KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""What :func:`node_oc.training.memory.keep_freed_memory` asks of the C library, for every process alike."""


class WorkerError(RuntimeError):
    """A worker that could not do what it was asked; its log says more."""


class Worker:
    """One peer's process, blocked on its input unless it is asked something.

    Args:
        python: the interpreter of the peer's environment.
        peer: a module of :mod:`benchmarks.workers`.
        task: the npz file of the task.
        device: "cpu" or "cuda".
        threads: for OpenMP, MKL and XLA.
        log: where its stderr goes, and what its libraries print.
        keep: whether it keeps freed memory, see ``KEPT``.
    """

    def __init__(
        self, python: Path, peer: str, task: Path, device: str, threads: int, log: Path, keep: bool = False
    ) -> None:
        self.peer, self.log = peer, log
        variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        command = [str(python), "-m", "benchmarks.worker", peer, str(task.resolve()), "--device", device]
        self.stderr = log.open("a")
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads)], cwd=ROOT,
            env=os.environ | variables | SETTINGS | (KEPT if keep else {}),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, text=True,
        )  # fmt: skip

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """One command and its answer; see :mod:`benchmarks.worker`.

        Raises:
            WorkerError: the worker failed at it, or died.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        line = ""
        if stdin is not None and stdout is not None and self.process.poll() is None:
            try:
                stdin.write(json.dumps({"do": do, **options}) + "\n")
                stdin.flush()
                line = stdout.readline()
            except BrokenPipeError:
                line = ""
        if not line:
            raise WorkerError(f"the worker of {self.peer} ended; the last lines of {self.log.name}: {self._last()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _last(self) -> str:
        self.stderr.flush()
        return " | ".join(self.log.read_text().splitlines()[-3:])

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stderr.close()
