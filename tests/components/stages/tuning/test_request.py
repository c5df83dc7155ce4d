"""The request of a tuning and the scores of its result."""

import pytest

from components.config import TrainConfig
from components.errors import ConfigError
from components.stages.tuning.request import TuneRequest, TuningResult
from components.stages.tuning.search_space import SearchOptions, make_search_space
from components.stages.tuning.study import TrialRecord


@pytest.mark.parametrize("name", ["trials", "minutes", "examples", "steps"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_numbers_that_are_not_above_zero_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"--{name} above zero"):
        TuneRequest(**{"tenant": "alder", "trials": 1, name: value})


def test_a_request_needs_a_budget():
    with pytest.raises(ConfigError, match="pass --trials, --minutes or both"):
        TuneRequest(tenant="alder")


@pytest.mark.parametrize(
    ("metric", "cost", "text"),
    [("validation-loss", 1.23456, "1.235"), ("ter", 50.0, "50.000"), ("bleu", -12.345, "12.35")],
)
def test_scores_are_those_of_the_metric_not_of_the_cost(metric, cost, text):
    space = make_search_space(TrainConfig(), SearchOptions())
    trials = [
        TrialRecord(0, "complete", {}, cost, None, 1, 1.0, ""),
        TrialRecord(1, "failed", {}, None, None, 1, 1.0, "x"),
    ]
    result = TuningResult(metric, space, tuple(trials), None, None, {}, is_written=False)
    assert [result.format_score(trial) for trial in trials] == [text, "-"]
