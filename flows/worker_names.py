"""Names of workers and of the queues that they poll. Does not import Prefect, which takes seconds."""

_QUEUE_PREFIX = "code-"


def make_queue_name(code_version: str) -> str:
    """Return the name of the work queue that workers with this code poll."""
    return f"{_QUEUE_PREFIX}{code_version}"


def make_worker_name(host: str, device: str, code_version: str) -> str:
    """Return the name of a worker, which shows its code version in errors and in Prefect's page."""
    return f"{host}-{device}-{make_queue_name(code_version)}"
