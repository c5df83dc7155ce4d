"""The end states of flows."""

import pytest
from prefect.states import Completed, Failed, Running

from components.errors import WorkspaceError
from flows.states import make_end_state, read_result


@pytest.mark.parametrize(("failed", "kind"), [(False, "COMPLETED"), (True, "FAILED")])
def test_an_end_state_has_its_sentence_and_returns_its_result(failed, kind):
    state = make_end_state("1 trained", {"alder": "1"}, failed=failed)
    assert (state.type.value, state.message) == (kind, "1 trained")
    assert read_result(state) == {"alder": "1"}


def test_the_exception_that_stopped_a_flow_is_raised():
    problem = WorkspaceError("a lock", "another run", "wait")
    with pytest.raises(WorkspaceError) as raised:
        read_result(Failed(message="stopped", data=problem))
    assert raised.value is problem


@pytest.mark.parametrize("state", [Running(), Completed()])
def test_a_state_that_the_server_did_not_keep_whole_is_an_error_that_says_what_to_do(state):
    with pytest.raises(WorkspaceError, match=f"a state {state.name} without the run's result"):
        read_result(state)
