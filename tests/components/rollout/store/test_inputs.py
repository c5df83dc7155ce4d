"""Counts of inputs and profiles, against SQLite and PostgreSQL."""

from components.rollout.store.inputs import (
    InputKey,
    InputRow,
    InputVersion,
    add_inputs,
    delete_inputs_before,
    list_profiled,
    read_inputs,
    read_profiles,
    write_profiles,
)

ALDER, BIRCH = InputVersion("alder", "a" * 64), InputVersion("birch", "b" * 64)
NONE = {"inputs": 0, "words": 0, "unknown_words": 0, "fields": 0, "unknown_fields": 0}


def test_counts_of_all_servers_and_hours_add_up(database):
    for _ in range(2):
        add_inputs(
            database,
            {InputKey(ALDER, hour): InputRow({**NONE, "inputs": 2, "words": 9}, {4: 1, 8: 1}) for hour in (100, 101)}
            | {InputKey(BIRCH, 101): InputRow({**NONE, "inputs": 1}, {})},
        )
    add_inputs(database, {})
    assert read_inputs(database, 101) == {
        ALDER: InputRow({**NONE, "inputs": 4, "words": 18}, {4: 2, 8: 2}),
        BIRCH: InputRow({**NONE, "inputs": 2}, {}),
    }
    assert read_inputs(database, 0)[ALDER].counts["inputs"] == 8
    delete_inputs_before(database, 101 * 60)
    assert read_inputs(database, 0) == read_inputs(database, 101)


def test_a_tenant_has_the_profile_of_one_version(database):
    write_profiles(database, {ALDER: {"form": "1"}, BIRCH: {"form": "2"}})
    newer = ALDER._replace(sha256="c" * 64)
    write_profiles(database, {newer: {"form": "3"}})
    write_profiles(database, {})
    assert list_profiled(database) == {newer, BIRCH}
    assert read_profiles(database, [ALDER, newer]) == {newer: {"form": "3"}}
    assert read_profiles(database, []) == {}
