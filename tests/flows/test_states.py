"""The end states of flows."""

import pytest
from prefect import flow, runtime
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


@pytest.mark.usefixtures("prefect_api")
def test_a_result_that_the_server_does_not_return_is_the_one_of_this_process():
    found = {}

    @flow
    def end():
        found["id"] = runtime.flow_run.id
        return make_end_state("1 trained", {"alder": "1"}, failed=False)

    end(return_state=True)
    of_server = Completed(message="1 trained", state_details={"flow_run_id": found["id"]})
    assert read_result(of_server) == {"alder": "1"}
    with pytest.raises(WorkspaceError):
        read_result(of_server)
