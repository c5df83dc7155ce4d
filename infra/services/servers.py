"""The servers on top of the stores: MLflow, Prefect, the model server."""

import sys

import httpx

from infra.services.addresses import (
    MLFLOW_FILES,
    POOLS,
    get_mlflow_database,
    get_mlflow_url,
    get_prefect_url,
    get_s3_url,
    get_serve_url,
    make_client_environment,
    make_database_url,
    make_plain_environment,
    make_s3_environment,
)
from infra.services.secret_file import Secrets
from infra.services.service import Service, answers
from infra.services.settings import Settings
from infra.services.workspace import make_workspace


def describe_mlflow(settings: Settings, secrets: Secrets) -> Service:
    """Return MLflow's server: records in PostgreSQL, files in S3. A client without S3 keys sends files to it."""
    port = settings.mlflow_port
    return Service(
        name="mlflow",
        description="MLflow's server on PostgreSQL and S3",
        command=[
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--serve-artifacts"),
        ],
        environment={
            **make_plain_environment(),
            **make_s3_environment(settings, secrets),
            "MLFLOW_ARTIFACTS_DESTINATION": MLFLOW_FILES,
            "MLFLOW_BACKEND_STORE_URI": get_mlflow_database(settings, secrets),
            "MLFLOW_S3_ENDPOINT_URL": get_s3_url(settings),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
        folder=settings.folder,
        ports={"MLFLOW_PORT": port},
        address=get_mlflow_url(settings),
        is_ready=lambda _: answers(f"{get_mlflow_url(settings)}/health"),
    )


def describe_prefect(settings: Settings, secrets: Secrets) -> Service:
    """Return Prefect's server."""
    url, home = get_prefect_url(settings), settings.folder / "prefect"

    def finish() -> None:
        for pool in POOLS:  # the first worker of a pool fills in the rest
            httpx.post(f"{url}/api/work_pools/", json={"name": pool, "type": "process"}, timeout=60)
        make_workspace(settings)

    return Service(
        name="prefect",
        description="Prefect's server on PostgreSQL",
        command=[
            *(sys.executable, "-m", "prefect", "server", "start"),
            *("--host", "127.0.0.1", "--port", str(settings.prefect_port)),
        ],
        environment={
            **make_plain_environment(),
            "PREFECT_API_DATABASE_CONNECTION_URL": make_database_url(
                settings, "postgresql+asyncpg", "prefect", secrets.prefect_password
            ),
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_UI_API_URL": f"{url}/api",
        },
        folder=settings.folder,
        ports={"PREFECT_PORT": settings.prefect_port},
        address=url,
        is_ready=lambda _: answers(f"{url}/api/health"),
        finish=finish,
    )


def describe_model_server(settings: Settings, secrets: Secrets) -> Service:
    """Return `prefixfleet serve` on the workspace."""
    url = get_serve_url(settings)
    return Service(
        name="serve",
        description="model server of all champions; its API is at /docs",
        command=[
            *(sys.executable, "-m", "cli.main", "-C", str(settings.workspace), "serve"),
            *("--host", "127.0.0.1", "--port", str(settings.serve_port)),
        ],
        environment=make_client_environment(settings, secrets, settings.folder / "prefect"),
        folder=settings.workspace.parent,
        ports={"SERVE_PORT": settings.serve_port},
        address=url,
        is_ready=lambda _: answers(f"{url}/healthz"),
    )
