"""States are replaced by moves, and the keys counted in earlier trials are deleted with them."""

import pytest

from components.rollout.store.evidence_writer import Evidence, EvidenceKey, write_observations
from components.rollout.store.observations import delete_observations_before
from components.rollout.store.tables import COUNTED_KEYS
from components.rollout.store.tenant_state import (
    delete_state,
    insert_unknown_states,
    read_exposures,
    read_state,
    read_states,
    write_states,
)
from components.rollout.types import Exposure, RolloutState, ShareChange

START_S = 60_000


def write(database, *states):
    with database.transaction("states") as connection:
        write_states(connection, states)


def test_states_are_replaced_and_an_unknown_one_is_empty(database):
    write(database)
    write(database, RolloutState(tenant="acme", champion="1"), RolloutState(tenant="birch"))
    write(database, RolloutState(tenant="acme", champion="2", paused_s=60.0))
    assert read_state(database, "acme") == RolloutState(tenant="acme", champion="2", paused_s=60.0)
    assert read_state(database, "cedar") == RolloutState(tenant="cedar")
    with database.transaction("to delete a state") as connection:
        delete_state(connection, "acme")
    assert list(read_states(database)) == ["birch"]


def test_only_states_of_unknown_tenants_are_inserted(database):
    write(database, RolloutState(tenant="acme", champion="2"))
    insert_unknown_states(database, [])
    insert_unknown_states(database, [RolloutState(tenant=one, champion="1") for one in ("acme", "birch")])
    assert {one.tenant: one.champion for one in read_states(database).values()} == {"acme": "2", "birch": "1"}


def test_a_challenger_with_a_share_is_exposed(database):
    changes = (ShareChange(START_S, 0.05), ShareChange(START_S + 600, 0.25))
    write(
        database,
        RolloutState(tenant="acme", challenger="2", mode="canary", share=0.25, changes=changes),
        RolloutState(tenant="birch", challenger="2", mode="shadow", share=1.0),
        RolloutState(tenant="cedar", challenger="2", mode="manual"),
        RolloutState(tenant="dale", champion="1"),
    )
    assert read_exposures(database) == {
        "acme": Exposure("2", 0.25, False, 0.05, START_S + 600),
        "birch": Exposure("2", 1.0, True),
    }


@pytest.mark.parametrize("section", [START_S, START_S + 300])
def test_counted_keys_are_deleted_when_their_trial_ends(database, section):
    def count_keys():
        with database.connect("the counted keys") as connection:
            return len(connection.execute(COUNTED_KEYS.select()).all())

    keys = [Evidence(EvidenceKey(tenant, section, "answer", 7), []) for tenant in ("acme", "birch")]
    first = (ShareChange(START_S, 0.1),)
    write_observations(database, [], keys)
    write(database, RolloutState(tenant="acme", challenger="2", changes=first))
    write(database, RolloutState(tenant="acme", challenger="2", changes=(*first, ShareChange(START_S + 600, 0.5))))
    assert count_keys() == 2  # a step of the same trial
    write(database, RolloutState(tenant="acme", challenger="3", changes=(ShareChange(START_S + 1200, 0.1),)))
    assert count_keys() == 1
    write_observations(database, [], keys)
    write(database, RolloutState(tenant="acme", champion="3"))
    assert count_keys() == 1
    write_observations(database, [], keys)  # by a server that has not noticed the end of the trial yet
    delete_observations_before(database, section // 60 + 1)
    assert count_keys() == 0
