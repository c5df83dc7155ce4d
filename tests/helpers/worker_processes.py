"""Workers as processes of their own, each with a home of its own, for the work pool of a test.

Their shards, processes as well, need not import torch and transformers each: see `fork_shards`.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forked_process import start_process
from forked_script import write_forked_script
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


def fork_shards(api: str, pool: str, program: Path, engine: Sequence[str] = ("-m", "prefect.engine")) -> None:
    """Make the shards' deployment in a pool, where the fork server starts this interpreter's `engine` for each shard.

    `program`: the file that is written for it. A run uses a deployment that exists already as it is.
    """
    from prefect.client.orchestration import SyncPrefectClient

    from flows.worker_pool import ENTRYPOINT, SHARD_FLOW

    write_forked_script(program, sys.executable, *engine)
    with SyncPrefectClient(api) as client:
        client.create_deployment(
            client.create_flow_from_name(SHARD_FLOW),
            pool,
            entrypoint=ENTRYPOINT,
            work_pool_name=pool,
            job_variables={"command": str(program)},
            enforce_parameter_schema=False,
        )


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
