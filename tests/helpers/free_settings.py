"""Settings of `make services` for tests: free ports, one training worker, and moto, whose start takes a second."""

import shutil
from pathlib import Path

from processes import find_free_port

from infra.services.settings import Settings, read_settings

_PORTS = ("POSTGRESQL_PORT", "S3_PORT", "MLFLOW_PORT", "PREFECT_PORT", "SERVE_PORT", "CEPH_MONITOR_PORT")


def write_settings(folder: Path) -> Settings:
    """Write settings of the services with free ports, one training worker, and moto."""
    file = read_settings(folder).file
    values = {**{name: str(find_free_port()) for name in _PORTS}, "S3_SERVER": "moto", "GPU_WORKERS": "1"}
    lines = [line.partition("=") for line in file.read_text().splitlines()]
    file.write_text("".join(f"{name}{sign}{values.get(name, value)}\n" for name, sign, value in lines))
    return read_settings(folder)


def has_postgresql() -> bool:
    """Whether PostgreSQL is installed here."""
    return bool(shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
