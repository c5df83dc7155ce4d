"""Counts what requests look like beside the training inputs: numbers only, by version and hour; no text is kept.

A version is counted if its profile is in the database; profiles are read, and counts written, in the background. If the
database fails, counts wait, up to a limit. Does not know HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from components.errors import WorkspaceError
from components.registry.mlflow.versions import Version
from components.rollout.policy.input_profile import COUNT_NAMES, InputCounts, InputProfile
from components.rollout.store.inputs import InputKey, InputRow, InputVersion, add_inputs, read_profiles
from components.serving.errors import LOGGER_NAME
from components.serving.fair_cache import FairCache
from components.serving.interface import GenerationRequest
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database

_MAX_PROFILES = 20_000
_MAX_PROFILE_BYTES = 256 << 20
_MAX_WAITING = 10_000
"""Counts (one per version and hour) that may wait while the database fails, and versions that wait for a profile."""
_MISSING_S = 60.0
"""How long a version without a profile is not looked for again; then its next request asks for it."""


class InputStatistics:
    """Counts that wait to be written; use it from one event loop."""

    def __init__(
        self, database: Database, timer: Callable[[], float] = time.monotonic, clock: Callable[[], float] = time.time
    ) -> None:
        """`timer` gives seconds of a monotonic clock, `clock` seconds since 1970."""
        self._database, self._timer, self._clock = database, timer, clock
        self._pool = FairThreadPool("input statistics")
        self._profiles: FairCache[InputVersion, InputProfile] = FairCache(_MAX_PROFILES, _MAX_PROFILE_BYTES)
        self._missing: dict[InputVersion, float] = {}
        """Version without a profile -> when it was looked for; 0: not yet."""
        self._counts: dict[InputKey, InputCounts] = {}
        self._forgotten: set[str] = set()
        self.write_error = ""
        """Why the last batch could not be written; "": it was written."""

    def add(self, version: Version, rows: Sequence[GenerationRequest]) -> None:
        """Count the inputs of one request's rows, each once; nothing if the version's profile is unknown."""
        key = InputVersion(version.tenant, version.sha256)
        profile = self._profiles.get(key)
        if profile is None:
            if len(self._missing) < _MAX_WAITING:
                self._missing.setdefault(key, 0.0)
            return
        place = InputKey(key, int(self._clock() // 3600))
        if place not in self._counts and len(self._counts) >= _MAX_WAITING:
            return
        total = self._counts.get(place, InputCounts())
        for row in rows:
            if row.sample_index == 0:
                total += profile.count(row.source)
        self._counts[place] = total

    def forget(self, tenant: str) -> None:
        """Drop everything of a tenant, including a batch that is being written if its write fails."""
        self._forgotten.add(tenant)
        self._profiles.remove_tenant(tenant)
        self._missing = {key: at_s for key, at_s in self._missing.items() if key.tenant != tenant}
        self._counts = {key: one for key, one in self._counts.items() if key.version.tenant != tenant}

    async def flush(self) -> None:
        """Write what waits, and read the profiles of versions that were asked for; a failure waits for the next."""
        counts, self._counts = self._counts, {}
        self._forgotten.clear()
        now_s = self._timer()
        self._missing = {key: at_s for key, at_s in self._missing.items() if not at_s or now_s - at_s < _MISSING_S}
        asked = [key for key, at_s in self._missing.items() if not at_s]
        if not counts and not asked:
            return
        rows = {key: to_row(one) for key, one in counts.items()}
        try:
            await self._pool.run(lambda: add_inputs(self._database, rows))
            counts = {}
            profiles = await self._pool.run(lambda: read_profiles(self._database, asked))
        except WorkspaceError as problem:
            if not self.write_error:
                logging.getLogger(LOGGER_NAME).warning("counts of inputs wait to be written: %s", problem)
            self.write_error = str(problem)
            for key, one in counts.items():
                if key.version.tenant not in self._forgotten:
                    self._counts[key] = self._counts.get(key, InputCounts()) + one
            return
        self.write_error = ""
        for version in asked:
            if version.tenant in self._forgotten:
                continue
            if version in profiles:
                profile = InputProfile.from_json(profiles[version])
                self._profiles.put(version.tenant, version, profile, len(profile.known))
                self._missing.pop(version, None)
            else:
                self._missing[version] = now_s

    async def run_forever(self, seconds: float) -> None:
        """Write every `seconds`, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.flush()


def to_row(counts: InputCounts) -> InputRow:
    """Return counts as a row of the store."""
    return InputRow({name: getattr(counts, name) for name in COUNT_NAMES}, counts.lengths)
