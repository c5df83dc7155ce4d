"""All services and the order of their start."""

from collections.abc import Sequence

from infra.services.secret_file import Secrets
from infra.services.servers import describe_mlflow, describe_model_server, describe_prefect
from infra.services.service import Service
from infra.services.settings import Settings
from infra.services.stores import describe_postgresql, describe_s3
from infra.services.workers import describe_workers


def list_services(settings: Settings, secrets: Secrets) -> list[Sequence[Service]]:
    """Return the services in waves: those of one start together, when all before them are ready.

    Raises:
        WorkspaceError: PostgreSQL, or a wanted S3 server, is not installed.
    """
    first, *others = describe_s3(settings, secrets)
    return [
        [describe_postgresql(settings, secrets), first],
        *([one] for one in others),
        [describe_prefect(settings, secrets), describe_mlflow(settings, secrets)],
        [*describe_workers(settings, secrets), describe_model_server(settings, secrets)],
    ]
