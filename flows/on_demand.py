"""Retrain one tenant by a run of the deployment `retrain/on-demand`, and wait for its end. Knows Prefect's server."""

import time

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from components.errors import WorkspaceError

DEPLOYMENT = "retrain/on-demand"
_POLL_S = 2.0


def run_on_demand(tenant: str, trigger: str) -> tuple[bool, str] | None:
    """Run the deployment; return whether it completed, and how it ended, in words; None: there is no such deployment.

    The run is cancelled if this call is interrupted. A repeated call with the same trigger waits for the same run.

    Raises WorkspaceError: Prefect's server does not answer.
    """
    parameters = {"tenants": [tenant], "trigger": trigger}
    try:
        with get_client(sync_client=True) as client:
            try:
                deployment = client.read_deployment_by_name(DEPLOYMENT)
            except ObjectNotFound:
                return None
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters, idempotency_key=trigger)
            try:
                while (state := _read_end(client.read_flow_run(run.id).state)) is None:
                    time.sleep(_POLL_S)
            except BaseException:
                client.set_flow_run_state(run.id, Cancelling(), force=True)
                raise
            return state.is_completed(), f"its run ended as {state.name}: {state.message}"
    except httpx.HTTPError as problem:
        fix = "start it, or unset PREFECT_API_URL"
        raise WorkspaceError("a Prefect server that answers", str(problem), fix) from problem


def _read_end(state: State | None) -> State | None:
    return state if state is not None and state.is_final() else None
