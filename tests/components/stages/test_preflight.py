"""Everything that a workspace lacks is named at once, before any work; what is only unwise is a warning."""

import logging
import shutil

import pytest
from processes import run_in

from components.errors import ConfigError, WorkspaceError
from components.stages.preflight import check_ready
from components.stages.progress import LOGGER_NAME


@pytest.fixture
def warnings(monkeypatch, caplog):
    """A function to the warnings since its last call."""
    monkeypatch.setattr(logging.getLogger(LOGGER_NAME), "propagate", True)

    def take():
        found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        caplog.clear()
        return found

    return take


def test_a_checkout_is_complete(make_checkout, warnings):
    check_ready(make_checkout(("alder",)))
    assert warnings() == []


def test_all_that_an_empty_folder_lacks_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(WorkspaceError) as problem:
        check_ready(tmp_path)
    for words in ("no params.yaml", "no git repository", "no .dvc folder", "no DVC remote", "no base in"):
        assert words in problem.value.got
    for words in ("`git init`", "`dvc init`", "`dvc remote add -d NAME URL`", "data.push", "base.path"):
        assert words in problem.value.fix


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(WorkspaceError, match="no such folder"):
        check_ready(tmp_path / "gone")


def remove_remote(root):
    run_in(root, "dvc", "remote", "remove", "local")


def rename_base(root):
    (root / "base").rename(root / "elsewhere")


@pytest.mark.parametrize(
    ("break_it", "got"),
    [
        (lambda root: shutil.rmtree(root / ".git"), "no git repository"),
        (remove_remote, "no DVC remote"),
        (rename_base, "no base in"),
    ],
)
def test_one_thing_that_is_missing_is_named_alone(make_checkout, break_it, got):
    root = make_checkout(("alder",))
    break_it(root)
    with pytest.raises(WorkspaceError) as problem:
        check_ready(root)
    assert problem.value.got.startswith(got)
    assert ";" not in problem.value.got


def test_what_is_not_needed_is_not_asked_for(make_checkout, set_params):
    root = make_checkout(("alder",))
    remove_remote(root)
    check_ready(root, takes_drops=False)
    set_params(root, data={"push": False})
    check_ready(root)
    shutil.rmtree(root / ".git")
    run_in(root, "dvc", "config", "core.no_scm", "true")
    check_ready(root)
    rename_base(root)
    for path in ("gpt2", "openai-community/gpt2", "elsewhere", str(root / "elsewhere")):
        set_params(root, data={"push": False}, base={"path": path})
        check_ready(root)


def test_a_remote_in_the_local_config_or_the_user_s_counts(make_checkout, monkeypatch, tmp_path):
    root = make_checkout(("alder",))
    remove_remote(root)
    run_in(root, "dvc", "remote", "add", "--local", "-d", "mine", str(tmp_path / "mine"))
    check_ready(root)
    run_in(root, "dvc", "remote", "remove", "--local", "mine")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "config"))
    run_in(root, "dvc", "remote", "add", "--global", "-d", "mine", str(tmp_path / "mine"))
    check_ready(root)


def test_folders_that_git_would_add_and_a_missing_pipeline_are_warnings(make_checkout, warnings):
    root = make_checkout(("alder",))
    (root / ".gitignore").write_text("/data\n/var/\n")
    (root / "dvc.yaml").unlink()
    check_ready(root)
    pipeline, ignored = warnings()
    assert "no dvc.yaml" in pipeline
    assert "does not have /out:" in ignored


def test_params_that_cannot_be_read_are_their_own_error(make_checkout):
    root = make_checkout(("alder",))
    (root / "params.yaml").open("a").write("nonsense: {}\n")
    with pytest.raises(ConfigError, match="nonsense"):
        check_ready(root)


@pytest.mark.parametrize(
    "command", [["retrain"], ["demo"], ["data", "take"], ["data", "import", "e2e", "x", "--tenant", "a"]]
)
def test_commands_check_before_they_work(call, tmp_path, command):
    result = call(tmp_path, *command)
    assert result.exit_code == 2
    assert "no .dvc folder" in result.stderr
    assert not list(tmp_path.iterdir())
