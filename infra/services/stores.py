"""The services that keep data: PostgreSQL and the S3 API. Does not know who uses them."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import psycopg2

from components.errors import WorkspaceError
from infra.services import ceph, postgresql
from infra.services.addresses import (
    BUCKETS,
    get_s3_url,
    make_database_url,
    make_plain_environment,
    make_s3_environment,
)
from infra.services.secret_file import Secrets
from infra.services.service import Service, answers
from infra.services.settings import PROJECT, Settings

_BUCKETS_SCRIPT = PROJECT / "infra" / "s3" / "create_buckets.py"


def describe_postgresql(settings: Settings, secrets: Secrets) -> Service:
    """Return the service PostgreSQL. Raises WorkspaceError if it is not installed."""
    programs, folder = postgresql.find_programs(settings), settings.folder / "postgresql"
    passwords = {
        "mlflow": secrets.mlflow_password,
        "prefect": secrets.prefect_password,
        "ledger": secrets.ledger_password,
    }

    def is_ready(_: int) -> bool:
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(make_database_url(settings, "postgresql", "ledger", secrets.ledger_password)).close()
            return True
        return False

    return Service(
        name="postgresql",
        description=f"PostgreSQL, databases {', '.join(passwords)}",
        command=postgresql.make_command(programs, folder, settings.postgresql_port),
        environment={**make_plain_environment(), "LC_ALL": "C"},
        folder=settings.folder,
        ports={"POSTGRESQL_PORT": settings.postgresql_port},
        address=f"127.0.0.1:{settings.postgresql_port}",
        prepare=lambda: postgresql.make_cluster(programs, folder, passwords),
        is_ready=is_ready,
        stop_signal=signal.SIGINT,  # fast shutdown: does not wait for clients
    )


def describe_s3(settings: Settings, secrets: Secrets) -> Sequence[Service]:
    """Return the processes of the S3 API, in their order.

    Raises:
        WorkspaceError: S3_SERVER is ceph, and it is not installed.
    """
    usable = ceph.is_usable()
    if settings.s3_server == "ceph" and not usable:
        missing = [name for name in ceph.PROGRAMS if not shutil.which(name)]
        got = f"no {', '.join(missing)}" if missing else "a user who is not root"
        fix = f"apt-get install radosgw ceph-mon ceph-osd, as root, or set S3_SERVER=moto in {settings.file}"
        raise WorkspaceError("Ceph, as S3_SERVER says", got, fix)
    if usable and settings.s3_server != "moto":
        return _describe_ceph(settings, secrets)
    folder = settings.folder / "s3"
    return [
        Service(
            name="s3",
            description=f"S3 API by moto, in memory while it runs; buckets {', '.join(BUCKETS)}",
            command=[
                *(sys.executable, "-m", "infra.services.moto_server"),
                *(str(settings.s3_port), str(folder / "objects.zip")),
            ],
            environment=make_plain_environment(),
            folder=settings.folder,
            ports={"S3_PORT": settings.s3_port},
            address=get_s3_url(settings),
            prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
            is_ready=lambda _: answers(get_s3_url(settings)),
            finish=lambda: _create_buckets(settings, secrets),
        )
    ]


def _describe_ceph(settings: Settings, secrets: Secrets) -> Sequence[Service]:
    cluster = ceph.Ceph(settings.folder / "ceph", settings.s3_port, settings.ceph_monitor_port)
    environment = {**make_plain_environment(), **cluster.environment}

    def finish() -> None:
        cluster.make_user(secrets.s3_access_key, secrets.s3_secret_key)
        _create_buckets(settings, secrets)

    return [
        Service(
            name="ceph-monitor",
            description="Ceph's monitor",
            command=["ceph-mon", "-i", "a", "-f"],
            environment=environment,
            folder=settings.folder,
            ports={"CEPH_MONITOR_PORT": settings.ceph_monitor_port},
            address=f"127.0.0.1:{settings.ceph_monitor_port}",
            prepare=cluster.prepare_monitor,
            is_ready=lambda _: cluster.is_monitor_ready(),
        ),
        Service(
            name="ceph-storage",
            description="Ceph's storage daemon",
            command=["ceph-osd", "-i", "0", "-f"],
            environment=environment,
            folder=settings.folder,
            prepare=cluster.prepare_storage,
            is_ready=lambda _: cluster.is_storage_ready(),
        ),
        Service(
            name="s3",
            description=f"S3 API by Ceph's radosgw; buckets {', '.join(BUCKETS)}",
            command=["radosgw", "-n", "client.rgw", "-f"],
            environment=environment,
            folder=settings.folder,
            ports={"S3_PORT": settings.s3_port},
            address=get_s3_url(settings),
            is_ready=lambda _: answers(get_s3_url(settings)),
            finish=finish,
        ),
    ]


def _create_buckets(settings: Settings, secrets: Secrets) -> None:
    environment = {**make_plain_environment(), **make_s3_environment(settings, secrets)}
    command = [sys.executable, str(_BUCKETS_SCRIPT), *BUCKETS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        got = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WorkspaceError(f"the buckets {', '.join(BUCKETS)}", got, f"read the logs in {settings.logs}")
