"""Every command of another program that the documentation shows is run by a test, or named as not run by the tests.

The last line of a page names the latter: `*Not run by the tests: ...*`, each by the words that it begins with.
"""

import re
import shlex
from pathlib import Path

import pytest
from doc_pages import BLOCK, INLINE, PAGES, ROOT, SHELL_BLOCK, list_lines, name_page

_PROGRAM = re.compile(
    "apt-get|bash|benchmarks/gpu_check.sh|chmod|cp|curl|docker|dvc|git|helm|install|kubectl|make|mkdir|mlflow|nvidia-smi"
    "|openssl|pip|pipx|prefect|python3?|sbatch|scancel|squeue|srun|sudo|systemctl|torchrun|useradd|uv"
)
"""Outside a block of the shell, what begins with one of these is a command."""
_OF_THE_SHELL = {
    "$EDITOR",
    ".",
    "case",
    "cd",
    "do",
    "done",
    "echo",
    "esac",
    "export",
    "printf",
    "prefixfleet",
    "set",
    "while",
}
RUN = {
    "infra/postgres/databases.sh": ("tests/infra/test_databases_script.py", '["bash", SCRIPT]'),
    "make check": (".ci/run", "make check"),
    "make docs": ("Makefile", "check: check-code check-infra docs"),
    "make setup": ("Makefile", "check-code: setup"),
    "make test": (".ci/run", "make test"),
    "make test-slow": (".ci/run", "make test-slow"),
    "make audit": ("tests/infra/packages/test_audit.py", 'main(["audit"'),
    "make licences": ("tests/infra/packages/test_licences.py", 'main(["licences"'),
    "python -m infra.packages sbom": (
        "tests/infra/packages/test_sbom.py",
        '"sbom", "--target", str(target), "--python"',
    ),
    "make sbom": ("tests/infra/packages/test_sbom.py", 'main(["sbom"'),
    "make setup-vllm": (".ci/run", "make setup-vllm"),
    "make test-vllm": (".ci/run", "make test-vllm"),
    "make demo": ("tests/behaviour/test_demo.py", 'PREFIXFLEET, "demo"'),
    "make services": ("tests/infra/test_services.py", 'run_services(folder, "start")'),
    "make services-stop": ("tests/infra/test_services.py", 'run_services(folder, "stop")'),
    "python benchmarks/against_revision.py": (
        "tests/benchmarks/test_against_revision.py",
        '"against_revision", "HEAD"',
    ),
    "mkdir -p drops": ("tests/behaviour/test_readme.py", "`((?:mkdir|prefixfleet) "),
    "cp -r examples/acme drops/": ("tests/behaviour/test_readme.py", "`((?:mkdir|prefixfleet) "),
    **dict.fromkeys(
        (
            "cp ../prefixfleet/examples/acme/validation.jsonl",
            "curl -s -i",
            "head -n",
            "mkdir -p drops/acme",
            "sed",
            "tail -n",
        ),
        ("tests/behaviour/test_tutorial.py", 'steps["Deliver data"]'),
    ),
    "dvc repro": ("tests/behaviour/test_dvc.py", '"dvc", "repro"'),
    "dvc exp run -S": ("tests/behaviour/test_dvc.py", '"dvc", "exp", "run", "-S"'),
    "dvc metrics show": ("tests/behaviour/test_dvc.py", '"dvc", "metrics", "show"'),
    "dvc metrics diff": ("tests/behaviour/test_dvc.py", '"dvc", "metrics", "diff"'),
    "dvc pull": ("tests/components/stages/commands/test_forget.py", '"dvc", "pull"'),
    "dvc push": ("tests/components/stages/commands/test_forget.py", '"dvc", "push"'),
    "dvc remote add": ("tests/helpers/workspaces.py", '"dvc", "remote", "add"'),
    "git add": ("tests/helpers/workspaces.py", '"git", "add"'),
    "git clone": ("tests/components/data/test_dvc.py", '"git", "clone"'),
    "mlflow server": ("tests/helpers/mlflow_server.py", '"mlflow", "server"'),
    "prefect server start": ("tests/helpers/prefect_server.py", 'PREFECT, "server", "start"'),
    "prefect --no-prompt deploy --all": ("tests/behaviour/test_prefect.py", '"deploy", "--all"'),
    "prefect work-pool create": ("tests/behaviour/test_prefect.py", '"work-pool", "create"'),
    "prefect worker start": ("tests/behaviour/test_prefect.py", '"worker", "start"'),
    "sbatch prefixfleet/infra/slurm/worker.sbatch": ("tests/infra/test_slurm.py", '"sbatch", "--parsable"'),
}
"""First words of a command -> the test that runs it, and how the test's file writes it."""
NOTE = re.compile(r"^\*Not run by the tests: (.*?)\.\*$", re.MULTILINE | re.DOTALL)


def find_other_commands(text: str) -> list[str]:
    """Return the commands of other programs on a page: lines of blocks, and what stands between backquotes."""
    text = NOTE.sub("", text)
    found = [one for line in list_lines(SHELL_BLOCK.findall(text)) for one in split_commands(line)]
    others = list_lines(BLOCK.findall(SHELL_BLOCK.sub("", text)))
    others += [" ".join(span.split()) for span in INLINE.findall(BLOCK.sub("", text))]
    found += [one for line in others for one in split_commands(line) if _PROGRAM.fullmatch(one.split()[0])]
    return found


def split_commands(line: str) -> list[str]:
    """Return the commands in a line of the shell that have arguments, without variables before them and the comment."""
    lexer = shlex.shlex(line, posix=False, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return []
    commands: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set(";&|()"):
            commands.append([])
        elif commands[-1] or not re.match(r"[A-Z_]+=", word):
            commands[-1].append(word)
    return [" ".join(one) for one in commands if _is_command(one)]


def _is_command(words: list[str]) -> bool:
    if not words or words[0] in _OF_THE_SHELL or not re.fullmatch(r"[\w./-]+", words[0]):
        return False
    return len(words) > 1 or "/" in words[0]


def begins_with(command: str, start: str) -> bool:
    """Return whether a command begins with these words."""
    return command.split()[: len(start.split())] == start.split()


def read_note(text: str) -> list[str]:
    """Return the beginnings of the commands that a page names as not run by the tests."""
    return [" ".join(span.split()) for note in NOTE.findall(text) for span in INLINE.findall(note)]


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_other_command_of_a_page_is_run_by_a_test_or_named_as_not_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands, named = find_other_commands(text), read_note(text)
    missing = [one for one in commands if not any(begins_with(one, start) for start in (*RUN, *named))]
    assert missing == [], "run it in a test and add it to RUN, or name it in the page's last line"
    assert [start for start in named if not any(begins_with(one, start) for one in commands)] == []
    assert [start for start in named if start in RUN] == []


@pytest.mark.parametrize("command", RUN)
def test_the_test_that_runs_a_command_does_so(command: str) -> None:
    file, words = RUN[command]
    assert words in (ROOT / file).read_text(encoding="utf-8")


def test_commands_are_found_in_blocks_and_between_backquotes_and_a_note_names_them() -> None:
    text = """
```sh
A=b make demo && docker build -t a \\
  .  # builds
cd x; echo "curl is no command here"
```
A `git` is no command; `git pull | make
test` are two, and `prefixfleet status` is another page's matter.

*Not run by the tests: `docker`,
`git pull`.*
"""
    assert find_other_commands(text) == ["make demo", "docker build -t a .", "git pull", "make test"]
    assert read_note(text) == ["docker", "git pull"]
    assert begins_with("docker build", "docker")
    assert not begins_with("docker-compose up", "docker")
