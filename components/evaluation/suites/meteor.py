"""METEOR 1.5 by its own Java program (Denkowski and Lavie 2014): English, normalized, one process for all slices.

The program reads commands line by line: SCORE returns an example's statistics, EVAL the score of many statistics.
Knows texts and groups of rows; does not know how the texts were tokenized.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO

from components.errors import WorkspaceError
from components.evaluation.suites import java
from components.evaluation.suites.suite import ExampleIndices

_SEPARATOR = " ||| "


def compute_scores(
    texts: Sequence[str], targets: Sequence[Sequence[str]], groups: Sequence[ExampleIndices]
) -> list[float]:
    """Return the METEOR of each group of rows, 0..1; it is a function of the sum of the examples' statistics.

    Raises:
        WorkspaceError: Java or pycocoevalcap is missing, or the program fails.

    """
    with _MeteorProcess() as program:
        statistics = [program.compute_statistics(text, own) for text, own in zip(texts, targets, strict=True)]
        return [program.compute_score([statistics[row] for row in rows]) for rows in groups]


class _MeteorProcess:
    def __enter__(self) -> "_MeteorProcess":
        command = ["java", "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(java.find_jar(java.METEOR_JAR))]
        command += ["-", "-", "-stdio", "-l", "en", "-norm"]
        self.stderr_file: IO[bytes] = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr_file)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()
        self.stderr_file.close()

    def compute_statistics(self, text: str, targets: Sequence[str]) -> str:
        plain = [" ".join(part.replace("|||", "").split()) for part in (*targets, text)]
        self._send_line(_SEPARATOR.join(("SCORE", *plain)))
        answer = self._read_line()
        if answer.startswith("Error"):
            raise self._make_error(answer)
        return answer

    def compute_score(self, statistics: Sequence[str]) -> float:
        self._send_line(_SEPARATOR.join(("EVAL", *statistics)))
        for _ in statistics:
            self._read_line()
        return float(self._read_line())

    def _send_line(self, line: str) -> None:
        try:
            assert self.process.stdin is not None  # noqa: S101
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._make_error("the program ended") from None

    def _read_line(self) -> str:
        assert self.process.stdout is not None  # noqa: S101
        line = self.process.stdout.readline().decode()
        if not line:
            raise self._make_error("the program ended")
        return line.strip()

    def _make_error(self, problem: str) -> WorkspaceError:
        self.stderr_file.seek(0)
        errors = self.stderr_file.read().decode(errors="replace").strip().splitlines()
        got = f"{problem}; {errors[-1]}" if errors else problem
        return WorkspaceError("an answer from METEOR's program", got, "make sure that Java can use 2 GB of memory")
