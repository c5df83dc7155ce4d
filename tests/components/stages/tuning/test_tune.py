"""Tuning a tenant on the tiny base: which trials run, what is written, and what a kill leaves."""

import os
import shutil
import signal
from contextlib import suppress

import pytest
import yaml

from components.errors import TrainingError
from components.stages.tuning import trial
from components.stages.tuning.request import TuneRequest
from components.stages.tuning.search_space import SearchOptions
from components.stages.tuning.tune import tune
from components.stages.workspace import Workspace

COMMENTED = """\
# Values of a run.
base: {path: base}  # tiny

train:
  prefix_length: 2  # slots
  learning_rate: 1.0e-7  # far too low
  max_steps: 6
  warmup_steps: 1
  batch_size: 4
  validate_every: 2
  init_text: null

evaluate: {max_new_tokens: 4, batch_size: 8}

# Overrides.
tenants:
  birch: {train: {prefix_length: 3}}  # stays as it is
"""


def request(**changes) -> TuneRequest:
    defaults = {"tenant": "alder", "trials": 4, "metric": "validation-loss"}
    return TuneRequest(**{**defaults, "options": SearchOptions(lengths=(1, 3), rates=(0.05, 0.5)), **changes})


@pytest.fixture
def root(make_root):
    root = make_root(("alder", "birch"))
    (root / "params.yaml").write_text(COMMENTED)
    return root


@pytest.fixture(scope="module")
def searched(make_root_in, tmp_path_factory):
    """A workspace in which a dry run has tried all trials, and what that run returned."""
    root = make_root_in(tmp_path_factory.mktemp("searched"), ("alder", "birch"))
    (root / "params.yaml").write_text(COMMENTED)
    files = read_files(root)
    dry = tune(Workspace(root), request(dry_run=True))
    assert read_files(root) == files
    return root, dry


@pytest.fixture
def searched_root(searched, tmp_path):
    """A copy of that workspace, in which a search with the same values has no trial left to run."""
    return shutil.copytree(searched[0], tmp_path / "workspace")


def read_files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and "var" not in path.parts}


def costs(tuned) -> dict[int, float | None]:
    return {trial.number: trial.cost for trial in tuned.trials}


def test_the_best_trial_beats_the_current_values_and_becomes_the_override(searched_root):
    root = searched_root
    tuned = tune(Workspace(root), request())
    assert tuned.current_trial.number == 0
    assert tuned.best_trial.cost < tuned.current_trial.cost
    assert [row.cost for row in tuned.trials if row.cost is not None] == sorted(
        row.cost for row in tuned.trials if row.cost is not None
    )
    assert tuned.is_written
    written = yaml.safe_load((root / "overrides/alder.yaml").read_text())
    assert written == {"train": tuned.values}
    params = Workspace(root).params
    assert params.for_tenant("alder").train.learning_rate == tuned.best_trial.fields["learning_rate"]
    assert params.for_tenant("alder").train.max_steps == 6
    assert params.for_tenant("birch").train.prefix_length == 3
    assert (root / "params.yaml").read_text() == COMMENTED


def test_training_with_the_written_values_ends_at_the_trials_loss(searched_root):
    from components.stages import train
    from components.stages.stamps import read_json

    root = searched_root
    tuned = tune(Workspace(root), request())
    assert [one.state for one in train.run(Workspace(root), ["alder"])] == ["done"]
    loss = read_json(root / "out/train/alder" / train.TRAINING_FILE)["validation_loss"]
    assert loss == tuned.best_trial.cost


def test_a_second_call_repeats_no_trial_and_compares_with_the_written_values(searched_root):
    root = searched_root
    first = tune(Workspace(root), request())
    again = tune(Workspace(root), request())
    assert costs(again) == costs(first)
    assert not again.is_written
    assert again.current_trial.number == first.best_trial.number
    more = tune(Workspace(root), request(trials=5))
    assert len(more.trials) == 5
    assert more.best_trial.cost <= first.best_trial.cost


def test_a_dry_run_changes_no_file_and_the_next_call_writes_without_a_trial(searched, searched_root, caplog):
    _, dry = searched
    assert dry.values
    assert not dry.is_written
    with caplog.at_level("INFO", "prefixfleet"):
        real = tune(Workspace(searched_root), request())
    assert "alder: trial " not in caplog.text
    assert costs(real) == costs(dry)
    assert real.values == dry.values
    assert real.is_written


def test_nothing_is_written_when_the_current_values_are_the_best(root):
    (root / "params.yaml").write_text(COMMENTED.replace("1.0e-7", "0.3"))
    tuned = tune(Workspace(root), request(options=SearchOptions(lengths=(2,), rates=(1e-9, 1e-8)), trials=3))
    assert tuned.best_trial.number == tuned.current_trial.number == 0
    assert not tuned.is_written
    assert tuned.values == {}
    assert (root / "params.yaml").read_text() == COMMENTED.replace("1.0e-7", "0.3")


@pytest.mark.parametrize("change", ["data", "train", "space", "metric", "steps"])
def test_a_change_of_what_a_score_depends_on_starts_another_study(searched, searched_root, write_tenant, change):
    root, (_, first) = searched_root, searched
    changes = {
        "space": {"options": SearchOptions(lengths=(1, 4), rates=(0.05, 0.5))},
        "metric": {"metric": "rougeL"},
        "steps": {"steps": 4},
    }
    if change == "data":
        write_tenant(root / "data", "alder", start=500)
    if change == "train":
        (root / "params.yaml").write_text(COMMENTED.replace("batch_size: 4", "batch_size: 3"))
    other = tune(Workspace(root), request(trials=1, dry_run=True, **changes.get(change, {})))
    assert [row.number for row in other.trials] == [0]
    back = {"data": lambda: write_tenant(root / "data", "alder"), "train": lambda: None}
    back.get(change, lambda: None)()
    (root / "params.yaml").write_text(COMMENTED)
    assert costs(tune(Workspace(root), request(dry_run=True))) == costs(first)


def test_a_length_that_does_not_fit_fails_its_trial_and_the_search_continues(root):
    wanted = SearchOptions(lengths=(2, 900), rates=(0.3, 0.3), init_texts=())
    tuned = tune(Workspace(root), request(options=wanted, trials=9))
    failed = [row for row in tuned.trials if row.state == "failed"]
    assert {row.fields["prefix_length"] for row in failed} == {900}
    assert all("160" in row.reason for row in failed)
    assert tuned.best_trial.fields["prefix_length"] == 2
    assert len(tuned.trials) == 5  # the current values and four points of the space


def test_a_search_in_which_every_trial_fails_ends_with_the_reason(root):
    (root / "params.yaml").write_text(COMMENTED.replace("prefix_length: 2", "prefix_length: 500"))
    with pytest.raises(TrainingError, match="trials failed, the last because"):
        tune(Workspace(root), request(options=SearchOptions(lengths=(900,)), trials=100))


def test_trials_with_worse_losses_are_stopped_but_never_that_of_the_current_values(root):
    (root / "params.yaml").write_text(COMMENTED.replace("max_steps: 6", "max_steps: 12"))
    tuned = tune(Workspace(root), request(trials=12, options=SearchOptions(lengths=(1, 2, 3), rates=(1e-6, 0.9))))
    pruned = [row for row in tuned.trials if row.state == "pruned"]
    assert pruned
    assert all(row.steps < 12 and row.cost is None for row in pruned)
    assert tuned.current_trial.state == "complete"


@pytest.mark.parametrize(
    ("train", "wanted", "fields"),
    [
        ("method: full", SearchOptions(rates=(1e-4, 1e-2)), {"learning_rate"}),
        ("method: top-k", SearchOptions(sizes=(1, 2, 9)), {"learning_rate", "top_layers"}),
        ("method: adapter", SearchOptions(sizes=(2,)), {"learning_rate", "adapter_size"}),
        ("method: lora", SearchOptions(sizes=(2,)), {"learning_rate", "lora_rank"}),
        ("method: in-context", SearchOptions(sizes=(1,)), {"demonstrations", "demonstration_choice"}),
        ("method: prefix\n  mlp_hidden: 4", SearchOptions(), None),
    ],
)
def test_every_method_is_searched_in_its_own_dimensions(root, train, wanted, fields):
    (root / "params.yaml").write_text(COMMENTED.replace("max_steps: 6", f"max_steps: 3\n  {train}"))
    tuned = tune(Workspace(root), request(options=wanted, trials=2, metric="bleu"))
    assert len(tuned.trials) == 2
    assert tuned.current_trial.cost is not None
    expected = fields or {"learning_rate", "prefix_length", "initialization", "init_text"}
    assert set(tuned.trials[0].fields) <= expected
    assert tuned.current_trial.fields.keys() == expected


def test_minutes_end_a_run_within_a_trial_that_the_next_run_continues(root):
    clock = iter(range(0, 10_000, 20))
    first = tune(Workspace(root), request(trials=None, minutes=4), clock=lambda: next(clock))
    assert [row.state for row in first.trials].count("unfinished") == 1
    assert not first.is_written or first.current_trial is not None
    second = tune(Workspace(root), request(trials=len(first.trials) + 1, dry_run=True))
    assert all(row.state != "unfinished" for row in second.trials)


def test_a_killed_search_continues_and_tries_what_an_uninterrupted_one_does(root, tmp_path, monkeypatch, caplog):
    (root / "params.yaml").write_text(COMMENTED.replace("max_steps: 6", "max_steps: 12"))

    def die_in_trial_2(progress):
        if (progress.activity, progress.done) == ("trial 2", 4):  # its state at step 2 is saved
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        with suppress(BaseException):
            monkeypatch.setattr(trial, "report_progress", die_in_trial_2)
            tune(Workspace(root), request(trials=3, dry_run=True))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    caplog.set_level("INFO", "prefixfleet")
    resumed = tune(Workspace(root), request(trials=3, dry_run=True))
    assert "alder: 1 finished trials of this study found in var/tune/alder" in caplog.text
    assert "alder: trial 1:" not in caplog.text
    assert "alder: trial 2 resumes at step " in caplog.text
    (root / "var/tune/alder/study.db").rename(tmp_path / "old.db")
    whole = tune(Workspace(root), request(trials=3, dry_run=True))
    assert {one.number: (one.state, one.fields, one.cost) for one in resumed.trials} == {
        one.number: (one.state, one.fields, one.cost) for one in whole.trials
    }


def test_a_search_starts_from_the_text_of_the_present_document(root):
    """The current trial has the document's text; the file that names it stays as it is."""
    (root / "words.txt").write_text("by\n")
    params = COMMENTED.replace("init_text: null", "init_text: {file: words.txt}")
    (root / "params.yaml").write_text(params)
    tuned = tune(Workspace(root), request(trials=1))
    assert tuned.current_trial is not None
    assert (tuned.current_trial.state, tuned.current_trial.fields["init_text"]) == ("complete", "by")
    assert not tuned.is_written
    assert (root / "params.yaml").read_text() == params
