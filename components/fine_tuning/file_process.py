"""Check an uploaded file in a process of its own, which leaves the server's interpreter to its answers.

The process reads the file's path and name and the limits as JSON from stdin. It writes JSON to stdout: what the file
holds, or the kind and the three parts of the error. Knows processes; does not know what a valid line is.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.config import DataConfig
from components.errors import DataError, PrefixFleetError, WorkspaceError, read_error
from components.fine_tuning.file_checks import iterate_examples
from components.storage.atomic_files import convert_disk_errors

_SMALL_BYTES = 20_000
"""A file of at most so many bytes is checked here: that takes less time than one step of the model."""
_NICENESS = 10
_MAX_SECONDS, _MAX_WAIT_S = 120, 300.0
"""Processor time of the process, and the time that a busy machine may take for it."""
_MIN_BYTES, _BYTES_PER_BYTE = 1 << 29, 50
"""A process may use so much memory, and for each byte of the file so much more."""
_MEMORY_EXIT_CODE = 3


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a valid file holds."""

    examples: int
    inputs: int
    """How many of the examples' inputs are different."""
    has_conversations: bool


def check_file(path: Path, name: str, limits: DataConfig, max_seconds: int = _MAX_SECONDS) -> FileFacts:
    """Check every line of a file; takes half a second or more, unless the file is small.

    `name` is what errors call the file; `max_seconds` limits the processor time of the process.

    Raises:
        DataError: as `iterate_examples`, or the file needs too much time or memory.
        WorkspaceError: the file cannot be read, or the process did not start, took too long, or was killed.
    """
    with convert_disk_errors(f"read {path}"):
        is_small = path.stat().st_size <= _SMALL_BYTES
    if is_small:
        return _read_facts(path, name, limits)
    asked = {"path": str(path), "name": name, "limits": limits.model_dump(mode="json"), "seconds": max_seconds}
    wanted = f"a process that checks {name}"
    try:
        with convert_disk_errors(f"start {wanted}"):
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__],
                input=json.dumps(asked).encode(),
                capture_output=True,
                check=False,
                timeout=_MAX_WAIT_S,
                process_group=0,  # Ctrl-C in the server's terminal does not end the check
            )
    except subprocess.TimeoutExpired:
        got = f"too little processor time in {_MAX_WAIT_S:.0f} s"
        raise WorkspaceError(wanted, got, "send the file again later") from None
    if done.returncode in (_MEMORY_EXIT_CODE, -signal.SIGXCPU):
        limits_text = f"a file that is checked within {max_seconds} s of processor time and the memory for its size"
        raise DataError(limits_text, f"more for {name}", "split it, or shorten its lines")
    if done.returncode or not done.stdout:
        got = f"exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()[-300:]}"
        raise WorkspaceError(wanted, got, "free memory if the system ended it, and send the file again")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise read_error(answer["error"])
    return FileFacts(**answer)


def main() -> None:
    """Check the file that stdin names."""
    os.nice(_NICENESS)
    asked = json.load(sys.stdin)
    path, limits = Path(asked["path"]), DataConfig.model_validate(asked["limits"])
    _limit_itself(asked["seconds"], _MIN_BYTES + _BYTES_PER_BYTE * (path.stat().st_size if path.exists() else 0))
    try:
        answer: dict[str, Any] = asdict(_read_facts(path, asked["name"], limits))
    except PrefixFleetError as problem:
        answer = {"error": problem.to_json()}
    except MemoryError:
        sys.exit(_MEMORY_EXIT_CODE)
    sys.stdout.write(json.dumps(answer))


def _read_facts(path: Path, name: str, limits: DataConfig) -> FileFacts:
    count, inputs, has_conversations = 0, set[str](), False
    for example in iterate_examples(path, name, limits):
        count += 1
        inputs.add(example.source)
        has_conversations |= example.chat is not None
    return FileFacts(count, len(inputs), has_conversations)


def _limit_itself(seconds: int, size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU at the first, SIGKILL at the second
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
