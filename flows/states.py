"""The end of a flow: a Prefect state with a sentence for Prefect's pages and the flow's result for its caller."""

from typing import Any

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.exceptions import MissingResult, UnfinishedRun
from prefect.states import Completed, Failed

from components.errors import WorkspaceError

REJECTED = "Rejected"
"""Name of the end state of a run in which the gate rejected a prefix and no tenant failed; its type is COMPLETED."""
_kept_results: dict[str, Any] = {}
"""Id of a flow's or task's run of this process -> its result, until it is read."""


def make_end_state(sentence: str, result: Any, *, failed: bool, rejected: bool = False) -> State[Any]:
    """Return the end state of a flow that ran to its end; `failed` means that a person must act.

    Called by the flow or task that ends. The result is also kept in this process: a server that answers late returns
    its own state, which has none.
    """
    if run_id := runtime.task_run.id or runtime.flow_run.id:
        _kept_results[run_id] = result
    if failed:
        return Failed(message=sentence, data=result)
    return (
        Completed(message=sentence, data=result, name=REJECTED)
        if rejected
        else Completed(message=sentence, data=result)
    )


def read_result(state: State[Any]) -> Any:
    """Return the result of a flow that ran to its end, failed or not. Raises the exception that stopped it earlier.

    Raises:
        WorkspaceError: Prefect's server did not keep the end of the run.
    """
    details = state.state_details
    kept = [_kept_results.pop(str(one), None) for one in (details.task_run_id, details.flow_run_id)]
    try:
        result = state.result(raise_on_failure=False)
    except (MissingResult, UnfinishedRun):
        known = [one for one in kept if one is not None]
        if known:
            return known[0]
        got = f"a state {state.name} without the run's result"
        fix = "run the same command again: finished work is not repeated"
        raise WorkspaceError("the end of the run, from Prefect's server", got, fix) from None
    if isinstance(result, BaseException):
        raise result
    return result
