"""The workers of pytest-xdist, forked from a process that has imported what the tests import.

Each worker would else import torch, transformers, MLflow, the product and the tests' tools on its own.
"""

import gc
import os
import pkgutil
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import forked_children
from forked_process import ForkedProcess
from forked_script import write_forked_script

_SERVER = Path(__file__).with_name("fork_server.py")
_PLUGINS = ("_hypothesis_globals", "anyio", "hypothesis", "schemathesis", "xdist")
"""Packages of pytest's plugins among what is imported."""
_IMPORTED = (
    *("hcl2", "matplotlib.pyplot", "moto.s3.responses", "nltk", "openai", "peft", "playwright.sync_api", "pytest"),
    *("rouge_score.rouge_scorer", "schemathesis.pytest.plugin", "scipy.stats", "sklearn.feature_extraction.text"),
    "xdist.remote",
)
_PACKAGES = ("components", "cli")
_GPU = Path("/dev/nvidia0")


@contextmanager
def collecting_no_garbage() -> Iterator[None]:
    """Collect none during imports, and let later collections pass over what they have made."""
    gc.disable()
    yield
    gc.collect()
    gc.freeze()
    gc.enable()


def import_for_tests() -> None:
    """Import it in the process that is forked for each worker."""
    with collecting_no_garbage():
        for name in _IMPORTED:
            import_module(name)
        for package in map(import_module, _PACKAGES):
            for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                import_module(found.name)
        for name in forked_children.STARTERS:
            import_module(name).subprocess = subprocess  # type: ignore[attr-defined]
        for name in _PLUGINS:  # whose assertions pytest would else warn that it cannot rewrite
            sys.modules[name].__doc__ = f"{sys.modules[name].__doc__} PYTEST_DONT_REWRITE"


def can_be_forked() -> bool:
    """Return whether this machine has no GPU: a process that has looked for one cannot use it after a fork."""
    return not _GPU.exists()


class ForkedWorkers:
    """The process, and what it takes to let pytest-xdist start its workers by it."""

    def __init__(self) -> None:
        """Start it; waits until the process that it is forked from has imported what commands import."""
        self._folder = Path(tempfile.mkdtemp(prefix="forked-workers-"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self._folder / "socket"))
            listener.listen()
            descriptor = listener.fileno()
            command = [sys.executable, str(_SERVER), str(descriptor), "workers"]
            streams = {"stdin": subprocess.PIPE, "stdout": None, "stderr": None, "text": False}
            more = {"start_new_session": True, "pass_fds": [descriptor], "ends_with_client": True}
            self._process = ForkedProcess(command, Path.cwd(), os.environ, **streams, **more)

    def make_spec(self) -> str:
        """Return what `--tx` takes for a worker."""
        program = self._folder / "python"
        write_forked_script(program, sys.executable, server=str(self._folder / "socket"))
        return f"popen//python={program}"

    def end(self) -> None:
        """End the process; workers go on."""
        self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self._folder)
