"""The environment of the services and of their clients: addresses, keys, and no telemetry.

Variables of the caller that would lead to other servers are left out.
"""

import os
import sys
from pathlib import Path

from infra.services.secret_file import Secrets
from infra.services.settings import PROJECT, Settings

BUCKETS = ("mlflow", "dvc", "exchange")
MLFLOW_FILES = f"s3://{BUCKETS[0]}"
"""The store behind MLflow's server; clients send files to it directly."""
FLOWS_POOL, TRAINING_POOL = POOLS = ("default", "gpu")
"""Work pools: for the flows that plan and gate, and for shards."""
_FOREIGN = ("AWS_", "GIT_DIR", "GIT_INDEX", "GIT_WORK", "MLFLOW_", "OMP_NUM_THREADS", "PREFECT_", "PREFIXFLEET_")
_QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PYTHONUNBUFFERED": "1",
}


def make_plain_environment() -> dict[str, str]:
    """Return the caller's environment with this interpreter's tools and this checkout's code first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, **_QUIET, "PATH": path, "PYTHONPATH": str(PROJECT)}


def make_s3_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Return what a client of the S3 API needs in its environment."""
    return {
        "AWS_ACCESS_KEY_ID": secrets.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": secrets.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": get_s3_url(settings),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_client_environment(settings: Settings, secrets: Secrets, home: Path) -> dict[str, str]:
    """Return the environment of a command or worker that uses all services, with Prefect's files in `home`."""
    return {
        **make_plain_environment(),
        **make_s3_environment(settings, secrets),
        "MLFLOW_ARTIFACTS_DESTINATION": MLFLOW_FILES,
        "MLFLOW_BACKEND_STORE_URI": get_mlflow_database(settings, secrets),
        "MLFLOW_TRACKING_URI": get_mlflow_url(settings),
        "PREFECT_API_URL": f"{get_prefect_url(settings)}/api",
        "PREFECT_HOME": str(home),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFIXFLEET_DATABASE": make_database_url(settings, "postgresql", "ledger", secrets.ledger_password),
    }


def make_database_url(settings: Settings, scheme: str, name: str, password: str) -> str:
    """Return the URL of one of the databases."""
    return f"{scheme}://{name}:{password}@127.0.0.1:{settings.postgresql_port}/{name}"


def get_mlflow_database(settings: Settings, secrets: Secrets) -> str:
    """Return the URL of MLflow's database, which clients read directly."""
    return make_database_url(settings, "postgresql+psycopg2", "mlflow", secrets.mlflow_password)


def get_s3_url(settings: Settings) -> str:
    """Return the address of the S3 API."""
    return f"http://127.0.0.1:{settings.s3_port}"


def get_mlflow_url(settings: Settings) -> str:
    """Return the address of MLflow's server."""
    return f"http://127.0.0.1:{settings.mlflow_port}"


def get_prefect_url(settings: Settings) -> str:
    """Return the address of Prefect's server."""
    return f"http://127.0.0.1:{settings.prefect_port}"


def get_serve_url(settings: Settings) -> str:
    """Return the address of the model server."""
    return f"http://127.0.0.1:{settings.serve_port}"
