"""A vLLM server on this machine, which is started for this server and again whenever it ends.

Knows vLLM's command line and the plugin's settings; does not know requests.
"""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from components.config.serve import VllmConfig
from components.errors import WorkspaceError
from components.serving.errors import LOGGER_NAME

_STOP_SECONDS = 30.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 60.0
_MAX_FAST_ENDS = 5
"""Ends within `_FAST_S` of the start, one after the other, after which it is not started again."""
_FAST_S = 300.0
_CAUSE = re.compile(r"Traceback \(most recent call last\)[\s\S]*?\b(\w*(?:Error|Exception): .+)|: (error: .+)")
"""In vLLM's log: the exception at the end of the first traceback, or a complaint about an option."""
_LAST_LINES = 5
_STRUCTURED_OUTPUTS = {"backend": "guidance", "disable_any_whitespace": True}
"""Else a model may write white space between the parts of JSON until its limit."""


def make_command(config: VllmConfig, python: Path, model: Path, port: int, store: str) -> list[str]:
    """Return the command that starts vLLM with the plugin on a base; `store` has the artifacts, by sha256."""
    settings = {"stores": [store], "resident_mb": config.resident_mb}
    if config.untested == "refuse":
        settings["untested_vllm"] = config.untested
    transfer = {"kv_connector": "PrefixFleetConnector", "kv_role": "kv_consumer", "kv_connector_extra_config": settings}
    return [
        *(str(python), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--middleware", "prefixfleet_vllm.admission.AdmissionCheck"),
        *("--kv-transfer-config", json.dumps(transfer)),
        *("--structured-outputs-config", json.dumps(_STRUCTURED_OUTPUTS)),
        *_make_lora_options(config),
        *config.options,
    ]


def _make_lora_options(config: VllmConfig) -> list[str]:
    if config.max_lora_rank is None:
        return []
    most = f"--max-loras={config.max_loras}", f"--max-cpu-loras={config.max_cpu_loras}"
    return ["--enable-lora", f"--max-lora-rank={config.max_lora_rank}", *most]


def find_free_port() -> int:
    """Return a port of the loopback interface that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class VllmProcess:
    """One process; `start` and `stop` once."""

    def __init__(self, command: Sequence[str], log_file: Path) -> None:
        """Start nothing yet. What vLLM writes goes to `log_file`."""
        self._command, self._log_file = list(command), log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._log_start = 0
        """Bytes in the log file before the present process was started."""
        self._minder = threading.Thread(target=self._mind, daemon=True, name="prefixfleet-vllm")
        self.end_reason = ""
        """Why it is not started again; "": it runs, or is being started."""

    def start(self) -> None:
        """Start it. Raises WorkspaceError: there is no such program."""
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        self._launch()
        self._minder.start()

    def check_running(self) -> None:
        """Raise WorkspaceError if it has ended for good."""
        if self.end_reason:
            fix = "look at that file, and correct serve.vllm"
            raise WorkspaceError("a vLLM server that starts", self.end_reason, fix)

    def stop(self) -> None:
        """End it, and wait for its end."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process is not None:
            _kill_group(process.pid)
        if self._minder.is_alive():
            self._minder.join()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._lock, self._log_file.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                    process_group=0,
                )
            except OSError as problem:
                got = f"{self._command[0]}: {problem.strerror}"
                fix = "set serve.vllm.python to the Python of vLLM's environment"
                raise WorkspaceError("the Python of an environment with vLLM", got, fix) from problem
            return self._process

    def _mind(self) -> None:
        log, fast_ends, delay_s = logging.getLogger(LOGGER_NAME), 0, _FIRST_DELAY_S
        while (process := self._process) is not None:
            started_s = time.monotonic()
            code = process.wait()
            _kill_group(process.pid)
            was_fast = time.monotonic() - started_s < _FAST_S
            if self._stopping.is_set():
                return
            fast_ends, delay_s = (fast_ends + 1, delay_s) if was_fast else (1, _FIRST_DELAY_S)
            cause = self._read_cause()
            log.warning("vLLM has ended with code %d: %s", code, cause)
            if fast_ends >= _MAX_FAST_ENDS:
                ends = f"{fast_ends} starts that ended soon, the last with code {code}"
                self.end_reason = f"{ends}: {cause} ({self._log_file})"
                log.error("vLLM is not started again: %s", self.end_reason)
                return
            if self._stopping.wait(delay_s):
                return
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            self._launch()

    def _read_cause(self) -> str:
        """Return the first error that the last process wrote, from which the others follow; else its last lines."""
        with self._log_file.open("rb") as file:
            file.seek(self._log_start)
            text = file.read().decode(errors="replace")
        if found := _CAUSE.search(text):
            return found[1] or found[2]
        return " | ".join(text.splitlines()[-_LAST_LINES:]) or "it has written nothing"


def _kill_group(leader: int) -> None:
    """End the processes that a vLLM server has left, which would keep its memory."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
