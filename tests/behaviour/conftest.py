"""Two vLLM servers on the built-in base, started once for all files that `make test-vllm` runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import find_free_port
from vllm_engine import PYTHON, VLLM, VllmServers

from components.serving.remote.vllm_process import VllmProcess, make_command

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def vllm_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServers]:
    """They read artifacts below the folder of all temporary files, and start again when they end."""
    folder = tmp_path_factory.getbasetemp()
    ports = [find_free_port() for _ in range(2)]
    commands = [make_command(VLLM, Path(PYTHON), PROJECT / "base", port, folder.as_uri()) for port in ports]
    made = [VllmProcess(one, folder / f"vllm-{port}.log") for one, port in zip(commands, ports, strict=True)]
    for one in made:
        one.start()
    yield VllmServers([f"http://127.0.0.1:{port}" for port in ports], made)
    for one in made:
        one.stop()
