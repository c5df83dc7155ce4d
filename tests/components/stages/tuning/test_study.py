"""The study in its SQLite file: the order of trials, pruning, and continuing after a process ended."""

import pytest

from components.config import TrainConfig
from components.errors import WorkspaceError
from components.stages.tuning.search_space import SearchOptions, make_search_space
from components.stages.tuning.study import TuningStudy

CONFIG = TrainConfig(prefix_length=8, learning_rate=0.1)
SPACE = make_search_space(CONFIG, SearchOptions(lengths=(1, 3), rates=(0.05, 0.5)))
FINITE = make_search_space(CONFIG, SearchOptions(lengths=(1, 3), rates=(0.1, 0.1)))


@pytest.fixture
def open_study(tmp_path):
    def make(key="key", space=SPACE, name="study.db"):
        return TuningStudy(tmp_path / "tune" / name, key, space, seed=3, unpruned_steps=1)

    return make


def test_the_first_trial_has_the_given_values_and_the_next_ones_are_in_the_space(open_study):
    study = open_study()
    first = study.begin_trial(SPACE.select_searched(CONFIG))
    assert first.fields == SPACE.select_searched(CONFIG)
    first.complete(0.5, 4, 1.5)
    second = study.begin_trial(None)
    assert second.fields["prefix_length"] in (1, 3)
    assert 0.05 <= second.fields["learning_rate"] <= 0.5
    (record, _) = study.list_trials()
    assert (record.state, record.cost, record.steps, record.seconds) == ("complete", 0.5, 4, 1.5)


def test_an_unfinished_trial_is_continued_with_its_values_and_losses(open_study):
    begun = open_study().begin_trial(None)
    begun.report_loss(2, 0.25)
    (record,) = open_study().list_trials()
    assert (record.state, record.loss, record.steps, record.cost) == ("unfinished", 0.25, 2, None)
    continued = open_study().begin_trial(None)
    assert (continued.number, continued.fields) == (begun.number, begun.fields)
    continued.report_loss(2, 0.25)
    continued.complete(0.25, 4, 1.0)
    assert [one.state for one in open_study().list_trials()] == ["complete"]


def test_a_continued_study_tries_the_points_of_one_that_was_not_interrupted(open_study):
    def try_points(count, reopen):
        name = f"{reopen}.db"
        study, points = open_study(name=name), []
        for number in range(count):
            study = open_study(name=name) if reopen else study
            running = study.begin_trial(None)
            points.append(running.fields)
            running.complete(float(number % 3), 1, 1.0)
        return points

    assert try_points(7, reopen=True) == try_points(7, reopen=False)


def test_a_finite_space_is_tried_once_and_then_there_is_no_trial(open_study):
    study = open_study(space=FINITE)
    points = []
    while running := study.begin_trial(None):
        points.append(running.fields)
        running.fail("no reason")
    assert len(points) == len(list(FINITE.iterate_points())) == 4
    assert all(points.count(point) == 1 for point in points)
    assert {one.reason for one in study.list_trials()} == {"no reason"}


def test_a_loss_is_worse_once_half_of_four_complete_trials_were_lower(open_study):
    study = open_study()
    for loss in (0.1, 0.2, 0.3, 0.4):
        running = study.begin_trial(None)
        assert not running.report_loss(2, 9.0 if loss == 0.4 else loss)
        running.complete(loss, 4, 1.0)
    running = study.begin_trial(None)
    assert not running.report_loss(1, 0.9)
    assert not running.report_loss(2, 0.15)
    running.complete(0.15, 4, 1.0)
    running = study.begin_trial(None)
    assert running.report_loss(2, 0.9)
    running.prune(2, 0.5)
    assert [one.state for one in study.list_trials()] == ["complete"] * 5 + ["pruned"]


def test_studies_of_two_keys_do_not_see_each_others_trials(open_study):
    open_study("one").begin_trial(None).complete(0.5, 1, 1.0)
    assert open_study("two").list_trials() == []
    assert len(open_study("one").list_trials()) == 1


def test_a_damaged_file_is_refused_with_its_path(open_study, tmp_path):
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune/study.db").write_bytes(b"no database" * 100)
    with pytest.raises(WorkspaceError, match=r"tune/study\.db.*remove its file"):
        open_study()
