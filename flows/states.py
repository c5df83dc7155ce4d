"""The end of a flow: a Prefect state with a sentence for Prefect's pages and the flow's result for its caller."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import MissingResult, UnfinishedRun
from prefect.states import Completed, Failed

from components.errors import WorkspaceError

REJECTED = "Rejected"
"""Name of the end state of a run in which the gate rejected a prefix and no tenant failed; its type is COMPLETED."""


def make_end_state(sentence: str, result: Any, *, failed: bool, rejected: bool = False) -> State[Any]:
    """Return the end state of a flow that ran to its end; `failed` means that a person must act."""
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
    try:
        result = state.result(raise_on_failure=False)
    except (MissingResult, UnfinishedRun):
        got = f"a state {state.name} without the run's result"
        fix = "run the same command again: finished work is not repeated"
        raise WorkspaceError("the end of the run, from Prefect's server", got, fix) from None
    if isinstance(result, BaseException):
        raise result
    return result
