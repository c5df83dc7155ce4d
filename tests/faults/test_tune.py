"""What a tuning is asked that cannot be: three beats and exit code 2, before any trial where it can be known."""

import os
import stat

import pytest
import yaml

from components.errors import WorkspaceError
from components.stages.tuning import tune
from components.stages.workspace import Workspace

FAST = ("--trials", "2", "--metric", "validation-loss", "--learning-rates", "0.1..0.5")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aldr"], ("one of the 2 tenants", "did you mean 'alder'?")),
        (["alder", "--trials", "0"], ("--trials above zero", "0")),
        (["alder", "--minutes", "0"], ("--minutes above zero",)),
        (["alder", "--minutes", "nan"], ("--minutes above zero",)),
        (["alder", "--steps", "-3"], ("--steps above zero", "-3")),
        (["alder", "--examples", "0"], ("--examples above zero",)),
        (["alder", "--lengths", "1,x"], ("whole numbers between commas for --lengths", "'1,x'")),
        (["alder", "--lengths", "0"], ("--lengths from 1 to 1024", "0")),
        (["alder", "--lengths", "5000"], ("--lengths from 1 to 1024", "5000")),
        (["alder", "--learning-rates", "0.1"], ("LOW..HIGH for --learning-rates", "'0.1'")),
        (["alder", "--learning-rates", "0.5..0.1"], ("0 < LOW <= HIGH", "0.5..0.1")),
        (["alder", "--learning-rates", "0..0.1"], ("0 < LOW <= HIGH", "0..0.1")),
        (["alder", "--learning-rates", "nan..nan"], ("0 < LOW <= HIGH",)),
        (["alder", "--init-texts", " "], ("words to start from",)),
        (["alder", "--sizes", "4"], ("options of method prefix", "--sizes")),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_tried(refused, make_root, arguments, words):
    root = make_root(("alder", "birch"))
    refused(root, ["tune", *arguments], *words)
    assert not (root / "var/tune").exists()


def test_lengths_are_refused_for_a_method_without_slots(refused, make_root):
    root = make_root(("alder",), train={"method": "lora"})
    refused(root, ["tune", "alder", "--lengths", "3"], "options of method lora", "--lengths")


@pytest.mark.parametrize(("content", "words"), [(None, "no file"), ("", "none in"), ("{oops\n", "broken JSON")])
def test_a_tenant_without_usable_validation_data(refused, make_root, content, words):
    root = make_root(("alder",))
    file = root / "data/alder/validation.jsonl"
    file.unlink()
    if content is not None:
        file.write_text(content)
    refused(root, ["tune", "alder", *FAST], "validation.jsonl", words)


def test_a_read_only_params_file_is_refused_at_once_but_not_for_a_dry_run(refused, call, make_root):
    root = make_root(("alder",))
    file = root / "params.yaml"
    file.chmod(stat.S_IRUSR)
    refused(root, ["tune", "alder", *FAST], "read-only", "chmod u+w")
    assert not (root / "var/tune").exists()
    assert call(root, "tune", "alder", *FAST, "--dry-run").exit_code == 0


def test_a_params_file_changed_by_hand_meanwhile_stands_and_the_values_are_told(
    refused, call, make_root, set_params, monkeypatch
):
    root = make_root(("alder",), train={"learning_rate": 1e-9})
    real = tune._Search.make_result

    def change(search):
        set_params(root, train={"learning_rate": 1e-9}, gate={"min_slice": 3})
        return real(search)

    monkeypatch.setattr(tune._Search, "make_result", change)
    refused(root, ["tune", "alder", *FAST], "to set tenants.alder.train: {", "changed while the trials ran", "by hand")
    assert yaml.safe_load((root / "params.yaml").read_text())["tenants"] == {}
    monkeypatch.setattr(tune._Search, "make_result", real)
    told = call(root, "tune", "alder", *FAST)
    assert told.exit_code == 0, told.output
    assert "2 trials of this study stand" in told.stderr
    assert "next: prefixfleet retrain --tenant alder" in told.stdout
    assert "learning_rate" in yaml.safe_load((root / "params.yaml").read_text())["tenants"]["alder"]["train"]


def test_a_damaged_study_is_told_with_its_file(refused, make_root):
    root = make_root(("alder",))
    (root / "var/tune/alder").mkdir(parents=True)
    (root / "var/tune/alder/study.db").write_bytes(b"no database at all" * 100)
    refused(root, ["tune", "alder", *FAST], "var/tune/alder/study.db", "once its file is removed")


def test_a_folder_that_cannot_be_made_is_told(refused, make_root):
    root = make_root(("alder",))
    (root / "var/tune").write_text("in the way")
    refused(root, ["tune", "alder", *FAST], "study.db")


def test_another_run_at_work_is_not_disturbed(refused, make_root):
    root = make_root(("alder",))
    with Workspace(root).lock():
        refused(root, ["tune", "alder", *FAST], f"process {os.getpid()}")


def test_ctrl_c_says_that_the_same_command_goes_on(call, make_root, monkeypatch):
    root = make_root(("alder",))
    before = (root / "params.yaml").read_bytes()

    def stop(progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("components.stages.tuning.trial.report_progress", stop)
        told = call(root, "tune", "alder", *FAST)
    assert told.exit_code == 130
    assert "the same command goes on" in told.stderr
    assert (root / "params.yaml").read_bytes() == before
    assert call(root, "tune", "alder", *FAST).exit_code == 0


def test_a_full_disk_ends_the_search_and_not_only_a_trial(call, make_root, monkeypatch, check_beats):
    root = make_root(("alder",))

    def full(*_given):
        raise WorkspaceError("to write a state", "No space left on device", "free space on this disk and run again")

    monkeypatch.setattr("components.training.run.save_state", full)
    told = call(root, "tune", "alder", *FAST)
    check_beats(told.exit_code, told.stderr, "No space left on device")
