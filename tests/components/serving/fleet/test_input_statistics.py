"""Inputs are counted beside their version's profile, written in batches, and wait while the database fails."""

import asyncio

import pytest

from components.registry.mlflow.versions import Version
from components.rollout.policy.input_profile import make_input_profile
from components.rollout.store.database import open_database_url
from components.rollout.store.inputs import InputVersion, read_inputs, write_profiles
from components.serving.fleet.input_statistics import InputStatistics
from components.serving.interface import ArtifactRef, GenerationRequest

VERSION = Version("acme", "1", sha256="a" * 64)
KEY = InputVersion("acme", "a" * 64)


@pytest.fixture
def database(tmp_path):
    opened = open_database_url(f"sqlite:///{tmp_path}/db")
    yield opened
    opened.close()


class Clock:
    seconds = 3_600_000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def statistics(database, clock):
    write_profiles(database, {KEY: make_input_profile(["red boat"], ["blue boat"]).to_json()})
    made = InputStatistics(database, clock, clock)
    made.add(VERSION, [make_row("red boat")])  # asks for the profile
    asyncio.run(made.flush())
    return made


def make_row(source, sample=0):
    ref = ArtifactRef("acme", "1", "a" * 64)
    return GenerationRequest(artifact=ref, source=source, max_tokens=1, sample_index=sample)


def read_counts(database):
    row = read_inputs(database, 0).get(KEY)
    return row and (row.counts["inputs"], row.counts["words"], row.counts["unknown_words"])


def test_each_prompt_of_a_request_counts_once_and_no_text_reaches_the_database(statistics, database, tmp_path):
    statistics.add(VERSION, [make_row("red secret"), make_row("red secret", 1), make_row("boat")])
    asyncio.run(statistics.flush())
    assert read_counts(database) == (2, 3, 1)
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.glob("db*") if path.is_file())


def test_counts_wait_for_a_database_that_fails(statistics, database):
    statistics.add(VERSION, [make_row("red")])
    with database.transaction("to break it") as connection:
        connection.exec_driver_sql("ALTER TABLE prefixfleet_inputs RENAME TO away")
    asyncio.run(statistics.flush())
    assert statistics.write_error
    statistics.add(VERSION, [make_row("boat")])
    with database.transaction("to mend it") as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO prefixfleet_inputs")
    asyncio.run(statistics.flush())
    assert (statistics.write_error, read_counts(database)) == ("", (2, 2, 0))


def test_a_version_without_a_profile_is_looked_for_again_after_a_minute(statistics, database, clock):
    other = Version("birch", "1", sha256="b" * 64)
    statistics.add(other, [make_row("red")])
    asyncio.run(statistics.flush())
    key = InputVersion("birch", "b" * 64)
    write_profiles(database, {key: make_input_profile(["red"], []).to_json()})
    for wait_s, known in ((30.0, False), (60.0, True)):
        clock.seconds += wait_s
        for _ in range(2):
            statistics.add(other, [make_row("red")])
            asyncio.run(statistics.flush())
        statistics.add(other, [make_row("red")])
        asyncio.run(statistics.flush())
        assert (key in read_inputs(database, 0)) == known


def test_nothing_of_a_forgotten_tenant_is_written(statistics, database):
    statistics.add(VERSION, [make_row("red")])
    statistics.forget("acme")
    asyncio.run(statistics.flush())
    assert read_counts(database) is None
