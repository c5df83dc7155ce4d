"""Share answers with the other servers through the database, so that feedback may reach any of them.

Answers are written in batches after they were sent, so no request waits for it. The limits are those of the memory:
what this server forgets is deleted from the database too, and what a stopped server has left, after a while. Does not
know HTTP.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable

from components.errors import WorkspaceError
from components.registry.mlflow.versions import Version
from components.rollout.store.answers import StoredAnswer, delete_answers_before, find_answer, write_answers
from components.serving.errors import LOGGER_NAME
from components.serving.http.answer_memory import RememberedAnswer
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database

_ID = re.compile(r"(chat)?cmpl-[0-9a-f]{24}")
_READ_CALLS = 64
_CLEAN_SECONDS = 60.0


class AnswerSharing:
    """The answers of all servers; use it from one event loop."""

    def __init__(
        self,
        database: Database,
        keep_seconds: float,
        clock: Callable[[], float] = time.time,
        *,
        write_seconds: float = 0.5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Write every `write_seconds`, and keep an answer for `keep_seconds`; 0: share none.

        `clock` gives seconds since 1970.
        """
        self._database, self._keep_seconds, self._clock = database, keep_seconds, clock
        self._write_seconds, self._sleep = write_seconds, sleep
        self._writer = FairThreadPool("writes of answers")
        self._reader = FairThreadPool("look-ups of answers", max_calls=_READ_CALLS)
        self._unwritten: dict[str, tuple[RememberedAnswer, float]] = {}
        """Id -> the answer, and when it was given."""
        self._dropped: set[str] = set()
        """Ids of written answers that are to be deleted."""
        self.write_error = ""
        """Why the last batch could not be written; "": it was written."""

    def add(self, completion_id: str, answer: RememberedAnswer) -> None:
        """Write an answer with the next batch."""
        if self._keep_seconds:
            self._unwritten[completion_id] = answer, self._clock()

    def drop(self, completion_id: str) -> None:
        """Delete an answer, with the next batch if it has been written."""
        if self._unwritten.pop(completion_id, None) is None and self._keep_seconds:
            self._dropped.add(completion_id)

    async def find(self, completion_id: str) -> RememberedAnswer | None:
        """Return an answer that any server has written.

        An answer may be too new to be written: an unknown id is looked up twice, with a wait between.

        Raises:
            WorkspaceError: the database does not answer.
            BusyError: too many look-ups wait.
        """
        if not self._keep_seconds or not _ID.fullmatch(completion_id):
            return None
        found = await self._read(completion_id)
        if found is None:
            await self._sleep(2 * self._write_seconds)
            found = await self._read(completion_id)
        if found is None:
            return None
        return RememberedAnswer(
            Version(found.tenant, found.version), found.arm, found.sources, found.user, ticket=found.ticket
        )

    async def flush(self) -> None:
        """Write and delete all that waits; if it fails, it waits for the next batch."""
        unwritten, self._unwritten = self._unwritten, {}
        dropped, self._dropped = self._dropped, set()
        if not unwritten and not dropped:
            return
        rows = [_to_stored(name, answer, at_s) for name, (answer, at_s) in unwritten.items()]
        try:
            await self._writer.run(lambda: write_answers(self._database, rows, dropped))
        except WorkspaceError as problem:
            if not self.write_error:
                logging.getLogger(LOGGER_NAME).warning("answers are not shared with other servers: %s", problem)
            self.write_error = str(problem)
            kept = {name: one for name, one in unwritten.items() if name not in self._dropped}
            self._unwritten = {**kept, **self._unwritten}
            self._dropped |= dropped
        else:
            self.write_error = ""

    async def run_forever(self) -> None:
        """Write the batches, and delete old answers, until cancelled."""
        cleaned_s = float("-inf")
        while True:
            await self._sleep(self._write_seconds)
            await self.flush()
            if self._clock() - cleaned_s >= _CLEAN_SECONDS and self._keep_seconds:
                cleaned_s = self._clock()
                await self._delete_before(cleaned_s - self._keep_seconds)

    async def _delete_before(self, second: float) -> None:
        try:
            await self._writer.run(lambda: delete_answers_before(self._database, second))
        except WorkspaceError as problem:
            logging.getLogger(LOGGER_NAME).warning("old answers were not deleted: %s", problem)

    async def _read(self, completion_id: str) -> StoredAnswer | None:
        return await self._reader.run(lambda: find_answer(self._database, completion_id))


def _to_stored(completion_id: str, answer: RememberedAnswer, at_s: float) -> StoredAnswer:
    return StoredAnswer(
        id=completion_id,
        tenant=answer.version.tenant,
        version=answer.version.version,
        arm=answer.arm,
        sources=answer.sources,
        at_s=at_s,
        user=answer.user,
        ticket=answer.ticket,
    )
