"""Impossible requests to `tune`: three beats and exit code 2, before any trial if the error can be known then."""

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
        (["alder", "--lengths", "1,x"], ("whole numbers separated by commas for --lengths", "'1,x'")),
        (["alder", "--lengths", "0"], ("--lengths from 1 to 1024", "0")),
        (["alder", "--lengths", "5000"], ("--lengths from 1 to 1024", "5000")),
        (["alder", "--learning-rates", "0.1"], ("LOW..HIGH for --learning-rates", "'0.1'")),
        (["alder", "--learning-rates", "0.5..0.1"], ("0 < LOW <= HIGH", "0.5..0.1")),
        (["alder", "--learning-rates", "0..0.1"], ("0 < LOW <= HIGH", "0..0.1")),
        (["alder", "--learning-rates", "nan..nan"], ("0 < LOW <= HIGH",)),
        (["alder", "--init-texts", " "], ("a text to start from", "--init-texts")),
        (["alder", "--sizes", "4"], ("options of method prefix", "--sizes")),
    ],
)
def test_an_impossible_request_is_refused_before_any_trial(refused, make_root, arguments, words):
    root = make_root(("alder", "birch"))
    refused(root, ["tune", *arguments], *words)
    assert not (root / "var/tune").exists()


def test_lengths_are_refused_for_a_method_without_slots(refused, make_root):
    root = make_root(("alder",), train={"method": "lora"})
    refused(root, ["tune", "alder", "--lengths", "3"], "options of method lora", "--lengths")


@pytest.mark.parametrize(("content", "words"), [(None, "no file"), ("", "none in"), ("{oops\n", "broken JSON")])
def test_a_tenant_without_usable_validation_data_is_refused(refused, make_root, content, words):
    root = make_root(("alder",))
    file = root / "data/alder/validation.jsonl"
    file.unlink()
    if content is not None:
        file.write_text(content)
    refused(root, ["tune", "alder", *FAST], "validation.jsonl", words)


def test_a_read_only_override_file_is_refused_before_any_trial_but_not_for_a_dry_run(refused, call, make_root):
    root = make_root(("alder",))
    file = root / "overrides/alder.yaml"
    file.parent.mkdir()
    file.write_text("train: {learning_rate: 0.02}\n")
    file.chmod(stat.S_IRUSR)
    refused(root, ["tune", "alder", *FAST], f"{file} is read-only", "chmod u+w")
    assert not (root / "var/tune").exists()
    assert call(root, "tune", "alder", *FAST, "--dry-run").exit_code == 0


def test_training_values_changed_while_the_trials_ran_stay_and_the_best_values_are_printed(
    refused, call, make_root, set_params, monkeypatch
):
    root = make_root(("alder",), train={"learning_rate": 1e-9})
    real = tune._Search.make_result

    def change(search):
        set_params(root, train={"learning_rate": 1e-9}, tenants={"alder": {"train": {"batch_size": 3}}})
        return real(search)

    monkeypatch.setattr(tune._Search, "make_result", change)
    refused(root, ["tune", "alder", *FAST], "to set train: {", "changed while the trials ran", "run the same command")
    assert not (root / "overrides").exists()
    monkeypatch.setattr(tune._Search, "make_result", real)
    set_params(root, train={"learning_rate": 1e-9})
    result = call(root, "tune", "alder", *FAST)
    assert result.exit_code == 0, result.output
    assert "2 finished trials of this study found" in result.stderr
    assert "next: prefixfleet retrain --tenant alder" in result.stdout
    assert "learning_rate" in yaml.safe_load((root / "overrides/alder.yaml").read_text())["train"]


def test_the_error_of_a_damaged_study_names_its_file(refused, make_root):
    root = make_root(("alder",))
    (root / "var/tune/alder").mkdir(parents=True)
    (root / "var/tune/alder/study.db").write_bytes(b"no database at all" * 100)
    refused(root, ["tune", "alder", *FAST], "var/tune/alder/study.db", "remove its file")


def test_a_folder_that_cannot_be_made_is_refused(refused, make_root):
    root = make_root(("alder",))
    (root / "var/tune").write_text("in the way")
    refused(root, ["tune", "alder", *FAST], "study.db")


def test_tune_is_refused_while_another_run_holds_the_workspace(refused, make_root):
    root = make_root(("alder",))
    with Workspace(root).lock():
        refused(root, ["tune", "alder", *FAST], f"process {os.getpid()}")


def test_ctrl_c_prints_that_the_same_command_continues(call, make_root, monkeypatch):
    root = make_root(("alder",))

    def stop(progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("components.stages.tuning.trial.report_progress", stop)
        result = call(root, "tune", "alder", *FAST)
    assert result.exit_code == 130
    assert "the same command continues the study in var/tune/alder" in result.stderr
    assert not (root / "overrides").exists()
    assert call(root, "tune", "alder", *FAST).exit_code == 0


def test_a_full_disk_ends_the_search_and_not_only_a_trial(call, make_root, monkeypatch, check_beats):
    root = make_root(("alder",))

    def fail(*_arguments):
        raise WorkspaceError("to write a state", "No space left on device", "free space on this disk and run again")

    monkeypatch.setattr("components.training.run.save_state", fail)
    result = call(root, "tune", "alder", *FAST)
    check_beats(result.exit_code, result.stderr, "No space left on device")
