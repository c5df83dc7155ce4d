"""Keys that were read before are verified while the database hangs; requests share reads; unknown keys delay only each
other."""

import asyncio
import threading
import time

import pytest

from components.access.api_keys import ApiKeys
from components.rollout.store.database import open_database_url
from components.serving.http.key_lookup import KeyLookup
from components.serving.interface import BusyError

LIMIT_S = 60


class SlowKeys(ApiKeys):
    """Keys whose database answers only while `may_answer` is set; `reads` are the ids that were read."""

    def __init__(self, database, fresh_seconds=0.0):
        self.may_answer, self.reads = threading.Event(), []
        self.may_answer.set()
        super().__init__(database, time.time, fresh_seconds=fresh_seconds)

    def read(self, key_id):
        self.reads.append(key_id)
        assert self.may_answer.wait(LIMIT_S)
        return super().read(key_id)


@pytest.fixture
def database(tmp_path):
    opened = open_database_url(f"sqlite:///{tmp_path}/keys.db")
    yield opened
    opened.close()


def test_a_known_key_stays_valid_while_the_database_hangs_and_unknown_keys_flood_it(database):
    async def main():
        keys = SlowKeys(database)
        known, text = keys.create("alder")
        lookup = KeyLookup(keys)
        assert await lookup.verify(text) == known
        keys.may_answer.clear()
        flood = [asyncio.create_task(lookup.verify(f"pf-unknown{number}-x")) for number in range(300)]
        await asyncio.sleep(0)
        assert await lookup.verify(text) == known
        assert await lookup.verify(f"{text}x") is None
        keys.may_answer.set()
        results = await asyncio.gather(*flood, return_exceptions=True)
        assert results.count(None) == 256
        assert sum(isinstance(one, BusyError) for one in results) == 44
        keys.revoke(known.id)
        assert await lookup.verify(text) is None

    asyncio.run(main())


def test_requests_that_wait_for_the_same_key_share_one_read(database):
    async def main():
        keys = SlowKeys(database, fresh_seconds=60)
        known, text = keys.create("alder")
        lookup = KeyLookup(keys)
        texts = [text] * 300 + [f"{text}x"] * 300
        assert await asyncio.gather(*map(lookup.verify, texts)) == [known] * 300 + [None] * 300
        assert keys.reads == [known.id]
        assert await lookup.verify(text) == known
        assert keys.reads == [known.id]

    asyncio.run(main())


def test_many_callers_of_a_server_without_keys_share_one_question(database):
    async def main():
        lookup = KeyLookup(SlowKeys(database))
        assert await asyncio.gather(*(lookup.has_any() for _ in range(600))) == [False] * 600

    asyncio.run(main())
