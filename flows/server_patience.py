"""Calls to Prefect's server that go on while the server is away for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from components.errors import WorkersError
from components.stages.progress import log_info, log_warning
from components.storage.urls import format_first_line

_PATIENCE_S = 900.0
_WAIT_S = 2.0
_LATER_STATUSES = frozenset({408, 425, 429})
_Result = TypeVar("_Result")


class ServerPatience:
    """Knows since when the server has not answered."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        """Ask nothing yet. `patience_s`: seconds without an answer after which calls raise an error."""
        self._patience_s = patience_s
        self._away_since_s: float | None = None

    def ask(self, call: Callable[[], _Result]) -> _Result | None:
        """Return what the call returns; None if the server does not answer at the moment.

        Raises:
            WorkersError: it has not answered for too long, or refuses the call.
        """
        try:
            result = call()
        except httpx.HTTPError as problem:
            self._endure(problem)
            return None
        if self._away_since_s is not None:
            log_info("Prefect's server answers again")
        self._away_since_s = None
        return result

    def insist(self, call: Callable[[], _Result]) -> _Result:
        """Return what the call returns, and wait for the server if need be. Raises WorkersError as `ask`."""
        answers: list[_Result] = []
        while not answers:
            self.ask(lambda: answers.append(call()))
            if not answers:
                time.sleep(_WAIT_S)
        return answers[0]

    def _endure(self, problem: httpx.HTTPError) -> None:
        wanted, got = "an answer of Prefect's server", format_first_line(problem)
        if isinstance(problem, httpx.HTTPStatusError):
            status = problem.response.status_code
            if status < 500 and status not in _LATER_STATUSES:
                fix = "check PREFECT_API_URL, PREFECT_API_AUTH_STRING, PREFECT_API_KEY and the server's log"
                raise WorkersError(wanted, got, fix) from problem
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
            log_warning(f"Prefect's server does not answer, trying again: {got}")
        if now_s - self._away_since_s > self._patience_s:
            fix = "start the server again, then run again: shards at work go on, and what is done is kept"
            raise WorkersError(wanted, got, fix) from problem
