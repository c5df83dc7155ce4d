"""Check a caller's JSON schema in a process of its own before it is compiled here or sent to an engine.

Checks of one tenant run one after the other, and tenants take turns. Knows the process; does not know tokenizers.
"""

import json
import signal
import subprocess
import sys
from functools import lru_cache, partial
from pathlib import Path

from components.errors import ConfigError
from components.serving.engine.number_bounds import find_unsafe_bounds
from components.serving.interface import BusyError
from components.serving.thread_pool import FairThreadPool

MAX_SCHEMA_CHARS = 50_000
SCHEMA_FIX = "correct response_format; docs/serving.md names what is supported"
_PROGRAM = str(Path(__file__).with_name("schema_process.py"))
_MAX_SECONDS, _MAX_BYTES = 1, 1 << 30
"""Processor time and memory of a process, its start of a tenth of a second included."""
_KNOWN_SCHEMAS = 256
_PROCESSES = 2
_WAITING, _WAITING_OF_TENANT = 64, 8
_MAX_WAIT_S = 30.0
"""On a busy machine; the limit that counts is of processor time."""
_TOO_MUCH = f"one that takes more than {_MAX_SECONDS} s of processor time, or {_MAX_BYTES >> 30} GiB, to compile"


class SchemaChecker:
    """The checks of one engine."""

    def __init__(self) -> None:
        self._pool = FairThreadPool(
            "schemas", _PROCESSES, tenant_threads=1, max_calls=_WAITING, max_tenant_calls=_WAITING_OF_TENANT
        )
        self._find_problem = lru_cache(_KNOWN_SCHEMAS)(find_schema_problem)

    async def check(self, schema: str, tenant: str) -> None:
        """Check a schema's JSON; a known one again costs nothing.

        Raises:
            ConfigError: it is too long, invalid, not supported, or takes too much work.
            BusyError: too many checks wait, or the machine is too busy.
        """
        if len(schema) > MAX_SCHEMA_CHARS:
            wanted = f"response_format: a JSON schema of at most {MAX_SCHEMA_CHARS} characters"
            raise ConfigError(wanted, str(len(schema)), "use a smaller schema")
        if problem := await self._pool.run(partial(self._find_problem, schema), tenant):
            raise ConfigError("response_format: a JSON schema that is valid and supported", problem, SCHEMA_FIX)

    def close(self) -> None:
        """Wait for the checks that run."""
        self._pool.close()


def find_schema_problem(schema: str) -> str:
    """Return why a schema cannot be compiled within the limits; "": it can. Takes a tenth of a second or more.

    Raises:
        BusyError: the process had too little processor time, or the system killed it.
    """
    command = [sys.executable, "-I", _PROGRAM, str(_MAX_SECONDS), str(_MAX_BYTES)]
    try:
        done = subprocess.run(command, input=schema.encode(), capture_output=True, timeout=_MAX_WAIT_S, check=True)
    except subprocess.TimeoutExpired:
        raise _make_busy_error(f"too little processor time in {_MAX_WAIT_S:.0f} s") from None
    except subprocess.CalledProcessError as ended:
        if ended.returncode == -signal.SIGKILL:
            raise _make_busy_error("a process that the system ended, perhaps for memory") from None
        return _TOO_MUCH
    if problem := " ".join(done.stdout.decode(errors="replace").split())[:400]:
        return problem
    bounds = find_unsafe_bounds(json.loads(schema))
    return f"{bounds}: include the excluded bound, or move the other one" if bounds else ""


def _make_busy_error(got: str) -> BusyError:
    return BusyError("a check of response_format", got, "retry later", retry_after=_MAX_WAIT_S)
