"""One trial: the config that it trains with, and the score of what it trained."""

import pytest
from workspaces import write_lines

from components.config import TrainConfig
from components.errors import GateError
from components.stages.plan import plan_tenant
from components.stages.tuning import trial
from components.stages.tuning.trial import StoppedTrial, TrialRunner, TrialScore, is_lower_better, label_metric
from components.stages.workspace import Workspace


@pytest.fixture
def make_runner(make_root):
    root = make_root(("alder",))

    def make(metric, examples=64):
        workspace = Workspace(root)
        item = plan_tenant(workspace, "alder", workspace.base.digest)
        return TrialRunner(workspace, item, workspace.params.for_tenant("alder"), metric, examples)

    return make


def run(runner, tmp_path, stop=lambda: False):
    losses = []
    result = runner.run("trial 1", runner.params.train, tmp_path / "state", lambda *loss: losses.append(loss), stop)
    return result, losses


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(None, (100, 10, 50)), (100, (100, 10, 50)), (40, (40, 4, 10)), (2, (2, 0, 1)), (400, (400, 10, 50))],
)
def test_a_shortened_config_keeps_the_share_of_warm_up_and_validates_four_times(steps, expected):
    config = TrainConfig(max_steps=100, warmup_steps=10, validate_every=50, warm_start=True)
    short = trial.shorten_config(config, steps)
    assert (short.max_steps, short.warmup_steps, short.validate_every) == expected
    assert not short.warm_start


def test_losses_and_error_rates_are_lower_better():
    assert [name for name in ("validation-loss", "bleu", "chrf", "ter", "rougeL") if is_lower_better(name)] == [
        "validation-loss",
        "ter",
    ]
    assert (label_metric("validation-loss"), label_metric("bleu")) == ("validation loss", "BLEU")


def test_the_validation_loss_is_the_score_of_a_trial_that_decodes_nothing(make_runner, tmp_path):
    result, losses = run(make_runner("validation-loss"), tmp_path)
    assert isinstance(result, TrialScore)
    assert [step for step, _ in losses] == [0, 2, 4]
    assert result.value == min(loss for _, loss in losses)


def test_a_metric_is_computed_on_evenly_spaced_validation_examples(make_runner, tmp_path, monkeypatch):
    calls = []
    real = trial.compute_sentence_statistics
    monkeypatch.setattr(trial, "compute_sentence_statistics", lambda *given: calls.append(given) or real(*given))
    runner = make_runner("rougeL", examples=2)
    result, _ = run(runner, tmp_path)
    ((metric, texts, references, *_),) = calls
    assert (metric, len(texts)) == ("rougeL", 2)
    assert [one for (one,) in references] == [runner.validation[index].references[0] for index in (0, 2)]
    assert result.value == pytest.approx(trial.compute_corpus_score("rougeL", real(*calls[0])))


def test_a_metric_that_cannot_see_the_references_is_refused_before_training(make_runner):
    workspace = make_runner("bleu").workspace
    labels = [{"source": f"text {number}", "references": ["yes" if number % 2 else "no"]} for number in range(4)]
    write_lines(workspace.data / "alder/validation.jsonl", labels)
    with pytest.raises(GateError, match="BLEU needs texts of four words"):
        make_runner("bleu")
    assert make_runner("chrf").tokenizer == make_runner("validation-loss").tokenizer == "13a"


def test_a_stopped_trial_has_no_score_and_resumes_to_the_same_one(make_runner, tmp_path, caplog):
    whole, _ = run(make_runner("validation-loss"), tmp_path / "whole")
    answers = iter([False, True])
    stopped, _ = run(make_runner("validation-loss"), tmp_path, lambda: next(answers))
    assert isinstance(stopped, StoppedTrial)
    assert 0 < stopped.steps < 4
    caplog.set_level("INFO", "prefixfleet")
    resumed, _ = run(make_runner("validation-loss"), tmp_path)
    assert f"trial 1 resumes at step {stopped.steps}" in caplog.text
    assert (resumed.value, resumed.steps) == (whole.value, whole.steps)
