"""How flows end: a Prefect state with a sentence for its page and the flow's own result for its caller."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed


def make_end_state(sentence: str, result: Any, *, failed: bool) -> State[Any]:
    """The end state of a flow that did all it could; failed when something needs a person."""
    return Failed(message=sentence, data=result) if failed else Completed(message=sentence, data=result)


def read_result(state: State[Any]) -> Any:
    """The result of a flow that ended in either way; re-raises what stopped one that did not get to its end."""
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    return result
