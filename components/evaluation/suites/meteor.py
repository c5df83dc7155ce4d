"""METEOR 1.5 by its own program (Denkowski and Lavie 2014), English, normalized, in one process for all slices.

The program takes lines: SCORE gives an example's statistics, EVAL the score of many. Knows tokenized or plain texts.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO

from components.errors import WorkspaceError
from components.evaluation.suites import java
from components.evaluation.suites.suite import Rows

_SEPARATOR = " ||| "


def scores(texts: Sequence[str], targets: Sequence[Sequence[str]], groups: Sequence[Rows]) -> list[float]:
    """The METEOR of each group of rows, 0..1: a function of the sum of its examples' statistics.

    Raises:
        WorkspaceError: Java or pycocoevalcap is missing, or the program fails.

    """
    with _Program() as program:
        statistics = [program.statistics(text, own) for text, own in zip(texts, targets, strict=True)]
        return [program.score([statistics[row] for row in rows]) for rows in groups]


class _Program:
    def __enter__(self) -> "_Program":
        command = ["java", "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(java.jar(java.METEOR))]
        command += ["-", "-", "-stdio", "-l", "en", "-norm"]
        self.errors: IO[bytes] = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def statistics(self, text: str, targets: Sequence[str]) -> str:
        plain = [" ".join(part.replace("|||", "").split()) for part in (*targets, text)]
        self._tell(_SEPARATOR.join(("SCORE", *plain)))
        answer = self._answer()
        if answer.startswith("Error"):
            raise self._failure(answer)
        return answer

    def score(self, statistics: Sequence[str]) -> float:
        self._tell(_SEPARATOR.join(("EVAL", *statistics)))
        for _ in statistics:
            self._answer()
        return float(self._answer())

    def _tell(self, line: str) -> None:
        try:
            assert self.process.stdin is not None  # noqa: S101
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("it ended") from None

    def _answer(self) -> str:
        assert self.process.stdout is not None  # noqa: S101
        line = self.process.stdout.readline().decode()
        if not line:
            raise self._failure("it ended")
        return line.strip()

    def _failure(self, what: str) -> WorkspaceError:
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        got = f"{what}; {said[-1]}" if said else what
        return WorkspaceError("an answer from METEOR's program", got, "check that Java may have 2 GB of memory")
