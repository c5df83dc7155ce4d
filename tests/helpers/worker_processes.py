"""Workers as processes of their own, each with a home of its own, for the work pool of a test."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forked_process import start_process
from processes import PREFIXFLEET, make_environment
from waiting import LIMIT_S


def make_pool(name: str) -> None:
    """Make a work pool for process workers; one that exists stays."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        except ObjectAlreadyExists:
            return


@contextmanager
def start_workers(pool: str, homes: Sequence[Path]) -> Iterator[list[Any]]:
    """Start a `prefixfleet worker start` per home; ended by SIGTERM after the block. Their output is in home/log."""
    started = []
    try:
        for home in homes:
            home.mkdir(parents=True)
            with (home / "log").open("wb") as log:
                command = [PREFIXFLEET, "worker", "start", "--pool", pool, "--devices", "none", "--home", str(home)]
                streams = {"stdout": log, "stderr": subprocess.STDOUT}
                started.append(start_process(command, home, make_environment(), start_new_session=True, **streams))
        yield started
    finally:
        for one in started:
            one.send_signal(signal.SIGTERM)
        for one in started:
            one.wait(LIMIT_S)
