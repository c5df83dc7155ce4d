"""Usage is counted by tenant and day, and written once, also if the database fails or loses its answer."""

import asyncio
from contextlib import contextmanager

import pytest

from components.errors import WorkspaceError
from components.rollout.store.database import open_database_url
from components.rollout.store.usage import Usage, read_usage
from components.serving.fleet.usage_buffer import UsageBuffer

DAY = 20_000


class Parts:
    """A buffer, its database, its clock and its device."""

    def __init__(self, database):
        self.database, self.now_s, self.device_seconds = database, DAY * 86_400.0, {}
        self.buffer = self.make_buffer()

    def make_buffer(self):
        return UsageBuffer(self.database, self.take_device_seconds, lambda: self.now_s)

    def take_device_seconds(self):
        taken, self.device_seconds = self.device_seconds, {}
        return taken

    def flush(self):
        asyncio.run(self.buffer.flush())

    def read(self):
        return {tuple(key): one for key, one in read_usage(self.database, 0, DAY + 9, by_day=True).items()}


@pytest.fixture
def parts(tmp_path):
    database = open_database_url(f"sqlite:///{tmp_path}/db")
    yield Parts(database)
    database.close()


def test_requests_and_device_time_are_counted_by_tenant_and_day(parts):
    parts.buffer.add("acme", requests=1, input_tokens=5, output_tokens=2)
    parts.buffer.add("acme", requests=1, input_tokens=1, output_tokens=1)
    parts.device_seconds = {"acme": 0.25, "birch": 1.5}
    parts.flush()
    parts.now_s += 86_400
    parts.buffer.add("acme", requests=1)
    parts.flush()
    assert parts.read() == {
        ("acme", DAY): Usage(requests=2, input_tokens=6, output_tokens=3, serving_us=250_000),
        ("acme", DAY + 1): Usage(requests=1),
        ("birch", DAY): Usage(serving_us=1_500_000),
    }


@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
def test_what_could_not_be_written_is_written_once(parts, monkeypatch, is_committed):
    transaction = parts.database.transaction

    @contextmanager
    def fail(wanted):
        if is_committed:
            with transaction(wanted) as connection:
                yield connection
        raise WorkspaceError("an answer", "none", "try again")
        yield

    parts.buffer.add("acme", requests=1)
    monkeypatch.setattr(parts.database, "transaction", fail)
    parts.flush()
    assert parts.buffer.write_error
    parts.buffer.add("acme", requests=4)
    parts.flush()
    monkeypatch.undo()
    parts.flush()
    parts.flush()
    assert (parts.buffer.write_error, parts.read()) == ("", {("acme", DAY): Usage(requests=5)})


def test_a_server_that_starts_again_adds_to_what_its_predecessor_wrote(parts):
    for _ in range(3):
        parts.buffer = parts.make_buffer()
        parts.buffer.add("acme", requests=1)
        parts.flush()
    assert parts.read() == {("acme", DAY): Usage(requests=3)}


def test_nothing_of_a_forgotten_tenant_is_written_also_not_what_failed_before(parts, monkeypatch):
    @contextmanager
    def fail(_):
        raise WorkspaceError("an answer", "none", "try again")
        yield

    for tenant in ("acme", "birch"):
        parts.buffer.add(tenant, requests=1)
    monkeypatch.setattr(parts.database, "transaction", fail)
    parts.flush()
    monkeypatch.undo()
    parts.buffer.add("acme", requests=1)
    parts.device_seconds = {"acme": 1.0}
    parts.buffer.forget("acme")
    parts.flush()
    parts.device_seconds = {"acme": 2.0}
    parts.flush()
    assert parts.read() == {("birch", DAY): Usage(requests=1)}
    parts.buffer.add("acme", requests=1)  # the name is used again
    parts.device_seconds = {"acme": 3.0}
    parts.flush()
    assert parts.read()["acme", DAY] == Usage(requests=1, serving_us=3_000_000)
