"""Tells a receiver of jobs that have ended: notices signed as OpenAI's webhooks are.

A notice is repeated until the receiver accepts it, at most for three days; the id of a repeated one is the same. Which
ones were accepted is in the database. Source of the form: OpenAI's webhook events and https://www.standardwebhooks.com.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from components.access.signed_post import compute_pause_s, parse_signing_key, post_signed
from components.errors import ConfigError
from components.rollout.store.tuning_jobs import TuningJob, list_untold_jobs, mark_told
from components.storage.database import Database

SECRET_VARIABLE = "PREFIXFLEET_TUNING_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the key: whsec_ and base64."""
_KEEP_TRYING_S = 3 * 86_400.0
_LOGGER = "prefixfleet.serving"


class JobNotices:
    """The notices of one place's jobs; use it from one thread at a time."""

    def __init__(self, database: Database, url: str, key: bytes, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self._database, self._url, self._key, self._clock = database, url, key, clock
        self._failures = 0
        self._next_try_s = 0.0

    def send_due(self, place: str) -> bool:
        """Send what is due, the first end first; return whether notices are left. Raises WorkspaceError."""
        now_s = self._clock()
        jobs = list_untold_jobs(self._database, place, now_s - _KEEP_TRYING_S)
        if not jobs or now_s < self._next_try_s:
            return bool(jobs)
        for job in jobs:
            if problem := self._send(job, int(now_s)):
                self._failures += 1
                pause_s = compute_pause_s(self._failures)
                self._next_try_s = now_s + pause_s
                logging.getLogger(_LOGGER).warning("notice of %s: %s; again in %.0f s", job.id, problem, pause_s)
                return True
            self._failures = 0
            mark_told(self._database, job)
        return False

    def _send(self, job: TuningJob, now_s: int) -> str:
        """Return why the receiver did not accept the notice; "": it did."""
        notice_id = f"evt_{hashlib.sha256(f'{job.id} {job.status}'.encode()).hexdigest()[:32]}"
        event = {
            "id": notice_id,
            "object": "event",
            "type": f"fine_tuning.job.{job.status}",
            "created_at": int(job.ended_s),
            "data": {"id": job.id},
        }
        return post_signed(self._url, [self._key], notice_id, json.dumps(event).encode(), now_s)


def make_notices(database: Database, url: str, environment: Mapping[str, str]) -> JobNotices | None:
    """Return the notices to a receiver; None: `url` is empty.

    Raises:
        ConfigError: it is no address, or the environment has no key.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigError("http:// or https:// of a receiver", repr(url), "correct serve.tuning_webhook")
    where = f"the notices of serve.tuning_webhook, in {SECRET_VARIABLE}"
    return JobNotices(database, url, parse_signing_key(environment.get(SECRET_VARIABLE, ""), where))
