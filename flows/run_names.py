"""Names of flow runs on Prefect's pages: what the run does, for which tenants, and when it started."""

from collections.abc import Callable
from datetime import UTC, datetime

from prefect import runtime

from components.stages.progress import join_abbreviated


def name_run(what: str) -> Callable[[], str]:
    """Return a function for `flow_run_name`: it makes `what`, the tenants in the parameters and the time in UTC.

    `what` may have parameters of the flow in braces. A flow whose parameter `tenants` is null runs for all tenants.
    """

    def make_name() -> str:
        parameters = runtime.flow_run.parameters
        subject = ""
        if "tenants" in parameters:
            subject = f" {join_abbreviated(parameters['tenants'] or ['all tenants'])}"
        return f"{what.format_map(parameters)}{subject}, {datetime.now(UTC):%Y-%m-%d %H:%M}"

    return make_name
