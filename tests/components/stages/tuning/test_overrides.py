"""Writing a tenant's override file: what it holds, what it keeps, and when it is refused."""

import errno
import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from components.errors import WorkspaceError
from components.stages.tuning.overrides import check_writable, format_override, write_override
from components.stages.workspace import Workspace

VALUES = {"prefix_length": 5, "learning_rate": 1e-05, "initialization": "text", "init_text": None}
FORMER = "tenants:\n  # kept by hand\n  acme: {train: {prefix_length: 3, max_steps: 7}}  # from the former tune\n"


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "params.yaml").write_text("base: {path: base}\ntrain: {prefix_length: 2}\n")
    return Workspace(tmp_path)


def write(workspace, values=VALUES, tenant="acme"):
    workspace = Workspace(workspace.root)
    return write_override(workspace, tenant, values, workspace.params.for_tenant(tenant).train)


def read_train(workspace, tenant="acme"):
    return Workspace(workspace.root).params.for_tenant(tenant).train


def test_the_file_holds_the_values_and_says_who_owns_it_and_what_it_wins_over(workspace):
    before = (workspace.root / "params.yaml").read_bytes()
    file = write(workspace)
    assert file == workspace.root / "overrides" / "acme.yaml"
    text = file.read_text()
    assert yaml.safe_load(text) == {"train": VALUES}
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert "`prefixfleet tune`, which owns this file" in header[0]
    assert "tenants.acme.train of params.yaml" in header[1]
    train = read_train(workspace)
    assert (train.prefix_length, train.learning_rate, train.init_text) == (5, 1e-05, None)
    assert (workspace.root / "params.yaml").read_bytes() == before


def test_values_of_an_earlier_search_stay_unless_they_are_set_again(workspace):
    write(workspace, {"prefix_length": 5, "init_text": "one"})
    file = write(workspace, {"init_text": "two", "learning_rate": 0.3})
    assert yaml.safe_load(file.read_text()) == {"train": {"prefix_length": 5, "init_text": "two", "learning_rate": 0.3}}
    assert [path.name for path in file.parent.iterdir()] == ["acme.yaml"]


def test_an_override_that_the_former_tune_wrote_into_params_stays_and_loses_to_the_file(workspace):
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text() + FORMER)
    assert read_train(workspace).prefix_length == 3
    write(workspace, {"prefix_length": 5})
    train = read_train(workspace)
    assert (train.prefix_length, train.max_steps) == (5, 7)
    assert params.read_text().endswith(FORMER)


@pytest.mark.parametrize(
    "text", ["no", "1e5", "two: words # here", 'quoted "so"', " so ", "Grüße 你好", "a\nb", "x " * 90]
)
def test_every_text_is_read_back_as_it_was(workspace, text):
    write(workspace, {"init_text": text})
    assert read_train(workspace).init_text == text


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("params.yaml", "tenants: {acme: {train: {max_steps: 3}}}\n"),
        ("overrides/acme.yaml", "  max_steps: 3\n"),
    ],
)
def test_training_values_that_changed_meanwhile_are_not_overridden(workspace, name, line):
    write(workspace, {"prefix_length": 4})
    before = read_train(workspace)
    file = workspace.root / name
    file.write_text(file.read_text() + line)
    content = file.read_bytes()
    with pytest.raises(WorkspaceError, match="changed while the trials ran") as problem:
        write_override(Workspace(workspace.root), "acme", VALUES, before)
    assert format_override(VALUES) in problem.value.wanted
    assert file.read_bytes() == content
    assert read_train(workspace).prefix_length == 4


def test_other_values_may_change_meanwhile(workspace):
    before = read_train(workspace)
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text() + "gate: {min_slice: 3}\n")
    write_override(workspace, "acme", VALUES, before)
    assert read_train(workspace).prefix_length == 5


@pytest.mark.parametrize("name", ["acme.yaml", "."])
def test_a_read_only_file_or_folder_is_refused(workspace, name):
    write(workspace, {"prefix_length": 4})
    path = workspace.root / "overrides" / name
    path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(WorkspaceError, match="read-only"):
            check_writable(workspace.root / "overrides" / "acme.yaml")
        with pytest.raises(WorkspaceError, match="read-only"):
            write(workspace)
    finally:
        path.chmod(0o755)
    assert read_train(workspace).prefix_length == 4


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    ("owner", "call", "when", "is_new"),
    [
        (os, "fsync", "before", False),
        (Path, "replace", "before", False),
        (Path, "replace", "after", True),
        (Path, "unlink", "before", True),
    ],
)
def test_a_kill_while_the_file_is_written_leaves_the_old_values_or_the_new(
    workspace, monkeypatch, owner, call, when, is_new, existing
):
    if existing:
        write(workspace, {"prefix_length": 4})
    old = 4 if existing else 2
    real = getattr(owner, call)

    def die(*given, **named):
        if when == "after":
            real(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        with suppress(BaseException):
            monkeypatch.setattr(owner, call, die)
            write(workspace)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read_train(workspace).prefix_length == (5 if is_new else old)
    write(workspace, {"prefix_length": 6})
    assert read_train(workspace).prefix_length == 6
    assert [path.name for path in (workspace.root / "overrides").iterdir()] == ["acme.yaml"]


def test_a_full_disk_leaves_the_old_file(workspace, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(workspace, {"prefix_length": 4})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkspaceError, match="No space left on device"):
        write(workspace)
    assert read_train(workspace).prefix_length == 4


def test_the_line_for_people_is_yaml():
    assert yaml.safe_load(format_override(VALUES)) == {"train": VALUES}
    assert "\n" not in format_override({"init_text": "a " * 200})
