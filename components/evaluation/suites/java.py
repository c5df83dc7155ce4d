"""Find the Java programs of the MS-COCO caption metrics, or the reason why they cannot run.

The package pycocoevalcap (extra `metrics`) contains them: Stanford's PTB tokenizer, and METEOR 1.5 with its paraphrase
table. Both run without a network.
"""

import importlib.util
import shutil
import subprocess
from pathlib import Path

from components.errors import WorkspaceError

TOKENIZER_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR_JAR = "meteor/meteor-1.5.jar"
_PARAPHRASE_TABLE = "meteor/data/paraphrase-en.gz"

NO_PACKAGE = "the package pycocoevalcap is not installed"
INSTALL_PACKAGE = "pip install 'prefixfleet[metrics]'"
NO_JAVA = "no Java runtime: `java -version` fails"
INSTALL_JAVA = "install a Java runtime (Debian: apt-get install default-jre-headless) and put `java` on PATH"


def find_problem() -> tuple[str, str] | None:
    """Return why the Java programs cannot run and how to fix it, or None if they can."""
    folder = _find_package()
    if folder is None:
        return NO_PACKAGE, INSTALL_PACKAGE
    for name in (TOKENIZER_JAR, METEOR_JAR, _PARAPHRASE_TABLE):
        if not (folder / name).is_file():
            return f"pycocoevalcap in {folder} has no {name}", "install pycocoevalcap again"
    return None if _is_java_available() else (NO_JAVA, INSTALL_JAVA)


def find_jar(name: str) -> Path:
    """Return the path of one of the programs.

    Raises:
        WorkspaceError: pycocoevalcap or Java is missing.

    """
    folder = _find_package()
    if folder is None or (problem := find_problem()) is not None:
        why, fix = (NO_PACKAGE, INSTALL_PACKAGE) if folder is None else problem  # type: ignore[misc]
        raise WorkspaceError("Java and pycocoevalcap's programs", why, fix)
    return folder / name


def _find_package() -> Path | None:
    spec = importlib.util.find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(folders[0]) if folders else None


def _is_java_available() -> bool:
    program = shutil.which("java")
    if program is None:
        return False
    try:
        return subprocess.run([program, "-version"], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
