"""Tells a receiver of jobs that have ended: notices signed as OpenAI's webhooks are.

A notice is repeated until the receiver accepts it, at most for three days; the id of a repeated one is the same. Which
ones were accepted is in the database. Source of the form: OpenAI's webhook events and https://www.standardwebhooks.com.
"""

import base64
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx

from components.access.signatures import sign_delivery
from components.errors import ConfigError
from components.rollout.store.tuning_jobs import TuningJob, list_untold_jobs, mark_told
from components.storage.database import Database

SECRET_VARIABLE = "PREFIXFLEET_TUNING_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
"""Environment variable with the key: whsec_ and base64."""
_SECRET_START = "whsec_"  # noqa: S105 - not a secret
_KEEP_TRYING_S = 3 * 86_400.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0
_TIMEOUT_S = 10.0
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
                pause_s = min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S)
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
        payload, timestamp = json.dumps(event).encode(), str(now_s)
        headers = {
            "content-type": "application/json",
            "webhook-id": notice_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign_delivery(self._key, notice_id, timestamp, payload),
        }
        try:
            response = httpx.post(self._url, content=payload, headers=headers, timeout=_TIMEOUT_S)
        except httpx.HTTPError as problem:
            return type(problem).__name__
        return "" if response.is_success else f"status {response.status_code}"


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
    return JobNotices(database, url, _parse_secret(environment.get(SECRET_VARIABLE, "")))


def _parse_secret(text: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_START), validate=True)
    except ValueError:
        key = b""
    if not key or not text.startswith(_SECRET_START):
        wanted = f"a key for the notices of serve.tuning_webhook in {SECRET_VARIABLE}: {_SECRET_START} and base64"
        fix = f"set it to {_SECRET_START}$(openssl rand -base64 32), and give it to the receiver"
        raise ConfigError(wanted, "another text" if text else "none", fix)
    return key
