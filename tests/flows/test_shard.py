"""The flow `shard` without a Prefect server: which tenants are evaluated, and its end state."""

import pytest
from prefect.states import Completed

from components.stages.outcome import TenantOutcome
from flows import shard
from flows.states import read_result

FINGERPRINTS = {"alder": "a1", "birch": "b1"}


@pytest.fixture
def run_shard(monkeypatch, make_root):
    """A function of the outcomes of training to the flow's end state and the tenants that are evaluated."""

    root = make_root(("alder", "birch"))

    def run(trained):
        evaluated = []

        def evaluate(_workspace, fingerprints, return_state):
            assert return_state
            evaluated.append(fingerprints)
            return Completed(data=[TenantOutcome(tenant, "evaluate", "done") for tenant in fingerprints])

        monkeypatch.setattr(shard, "train_all", lambda *_, return_state: Completed(data=list(trained)))
        monkeypatch.setattr(shard, "evaluate_all", evaluate)
        return shard.shard.fn(str(root), FINGERPRINTS, {}), *evaluated

    return run


def test_a_shard_without_failures_completes(run_shard):
    trained = [TenantOutcome(tenant, "train", "done") for tenant in FINGERPRINTS]
    state, evaluated = run_shard(trained)
    assert (state.type.value, state.message) == ("COMPLETED", "2 of 2 tenants trained and evaluated")
    assert evaluated == FINGERPRINTS
    assert read_result(state) == [*trained, *(TenantOutcome(tenant, "evaluate", "done") for tenant in FINGERPRINTS)]


def test_a_tenant_that_fails_in_training_is_not_evaluated_and_is_named(run_shard):
    state, evaluated = run_shard(
        [TenantOutcome("alder", "train", "failed", "x"), TenantOutcome("birch", "train", "done")]
    )
    assert (state.type.value, state.message) == ("FAILED", "1 of 2 tenants trained and evaluated; failed: alder")
    assert evaluated == {"birch": "b1"}


def test_the_state_of_a_task_names_tenants_and_reasons():
    done, failed = TenantOutcome("alder", "train", "done"), TenantOutcome("birch", "train", "failed", "no data")
    assert shard._to_shard_result([done]) == [done]
    state = shard._to_shard_result([done, failed])
    assert (state.type.value, state.message) == ("FAILED", "birch: no data")
    assert read_result(state) == [done, failed]
