"""Admission: examples that cannot be trained on end their own run before it starts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from prefix_training import make_config, train_delta

from components.data.pairs import TokenizedPair, TokenizedPairs
from components.errors import TrainingError
from components.model.base.load import Base
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_alone, train_together
from components.training.run import TrainingJob, TrainResult

Train = Callable[..., TrainResult]


def test_empty_splits_are_named(base: Base, train: list[TokenizedPair]) -> None:
    module = TrainableDelta(base, make_config(), "", None, ())
    with pytest.raises(TrainingError, match="validation split; got none"):
        train_delta(base, train, [], make_config(), module=module)
    with pytest.raises(TrainingError, match="train split; got none"):
        train_delta(base, [], train, make_config(), module=module)


def test_a_prefix_without_room_is_refused(
    run: Train, train: list[TokenizedPair], validation: list[TokenizedPair]
) -> None:
    with pytest.raises(TrainingError, match="context of 64 tokens; got a prefix of 60"):
        run(make_config(prefix_length=60))
    longest = max(pair.length for pair in train + validation)
    assert run(make_config(prefix_length=64 - longest, max_steps=1)).steps == 1


def test_examples_that_cannot_be_trained_on_end_their_run_before_it_begins(
    base: Base, job_of: Callable[..., TrainingJob], check_same: Callable[..., None]
) -> None:
    jobs = [job_of(base, name) for name in ("none", "a", "long", "b")]
    long = TokenizedPair((*range(2, 66), 0), (3, 0))
    jobs[0], jobs[2] = replace(jobs[0], train=[]), replace(jobs[2], validation=[long])
    results = {ended.job.tenant: ended.result for ended in train_together(base, jobs)}
    assert str(results["none"]).startswith("wanted examples in the train split; got none")
    assert "a prefix of 2 and a validation example of 67" in str(results["long"])
    for name in ("a", "b"):
        check_same(train_alone(base, job_of(base, name)), results[name])


@pytest.mark.parametrize("outside", [67, 10**6, -1])
def test_an_id_without_a_row_ends_its_own_run_by_name(
    base: Base, job_of: Callable[..., TrainingJob], check_same: Callable[..., None], outside: int
) -> None:
    jobs = [job_of(base, name) for name in ("bad", "a")]
    pair = TokenizedPair((5, 0), (3, outside, 0))
    sizes_R2 = np.array([[2, 3]], dtype=np.int32)
    arrays = TokenizedPairs.from_contiguous(np.array([5, 0, 3, outside, 0], dtype=np.int32), sizes_R2)
    for pairs in ([pair], arrays):
        jobs[0] = replace(jobs[0], validation=pairs)
        results = {ended.job.tenant: ended.result for ended in train_together(base, jobs)}
        assert f"ids from 0 to 66, the rows of the model; got id {outside} in the validation" in str(results["bad"])
        check_same(train_alone(base, job_of(base, "a")), results["a"])
        jobs[1] = job_of(base, "a")
