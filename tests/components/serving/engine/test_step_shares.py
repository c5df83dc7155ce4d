"""Rows of a tenant with many rows wait only if they make the steps of a tenant with few rows longer."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from components.serving.engine.step_shares import StepShares


@dataclass(eq=False)
class Row:
    tenant: str
    branch_count: int = 1


class Batch:
    """Steps of these rows, which take `step_s` and `row_s` for each row that takes part."""

    def __init__(self, step_s: float, row_s: float, max_rows: int = 64, **counts: int) -> None:
        self.shares, self._times, self._now_s = StepShares(max_rows), (step_s, row_s), 0.0
        self.rows: Any = [Row(tenant) for tenant, count in counts.items() for _ in range(count)]

    def step(self) -> dict[str, int]:
        """The rows of each tenant that take part in the next step."""
        chosen = self.shares.choose(self.rows, self._now_s)
        assert chosen
        assert [row for row in self.rows if row in chosen] == list(chosen)
        self._now_s += self._times[0] + self._times[1] * sum(row.branch_count for row in chosen)
        return {row.tenant: sum(one.tenant == row.tenant for one in chosen) for row in self.rows}

    def take_steps(self, count: int) -> dict[str, float]:
        """The mean of each tenant's rows over the last half of so many steps."""
        steps = [self.step() for _ in range(count)][count // 2 :]
        return {tenant: sum(step[tenant] for step in steps) / len(steps) for tenant in steps[0]}


def test_where_rows_cost_time_a_step_takes_about_half_as_long_again() -> None:
    means = Batch(0.009, 0.001, flood=56, victim=1).take_steps(2000)
    assert means["victim"] == 1
    assert 3.5 < means["flood"] < 6.5


def test_rows_of_a_beam_search_count_as_their_beams_and_each_has_its_turn() -> None:
    batch = Batch(0.009, 0.001, beams=11, victim=1)
    for row in batch.rows[:-1]:
        row.branch_count = 5
    means = batch.take_steps(600)
    assert means["victim"] == 1
    assert 0.5 < means["beams"] < 6.5 / 5 + 1
    few = Batch(0.009, 0.001, beams=1, flood=50)
    few.rows[0].branch_count = 8
    assert few.take_steps(200)["beams"] == 1


def test_where_rows_cost_no_time_none_waits_but_in_the_steps_that_measure() -> None:
    means = Batch(0.03, 0.0, flood=56, victim=1).take_steps(2000)
    assert 52 < means["flood"] < 53
    assert means["victim"] == 1


def test_without_a_tenant_of_few_rows_or_of_many_none_waits() -> None:
    for counts in ({"flood": 56}, {"one": 32, "other": 32}, {f"t{number}": 8 for number in range(8)}):
        assert Batch(0.0, 0.001, **counts).take_steps(500) == counts


def test_steps_stay_short_for_a_second_after_the_last_row_of_a_tenant_with_few() -> None:
    batch = Batch(0.009, 0.001, flood=56, victim=1)
    batch.take_steps(600)
    (victim,) = [row for row in batch.rows if row.tenant == "victim"]
    batch.rows.remove(victim)
    left_s = batch._now_s
    while batch._now_s < left_s + 0.9:
        assert batch.step()["flood"] < 12
    batch._now_s = left_s + 1.1
    assert batch.step()["flood"] == 56
    batch.rows.append(victim)
    assert batch.take_steps(200)["flood"] < 6.5


def test_the_time_in_which_the_batch_is_empty_is_no_steps() -> None:
    batch = Batch(0.03, 0.0, flood=56, victim=1)
    batch.take_steps(100)
    for _ in range(100):
        batch.shares.pause()
        batch._now_s += 60.0
        batch.step()
    assert batch.take_steps(32)["flood"] > 50


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    times=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    max_rows=st.sampled_from([1, 4, 8, 64]),
)
def test_tenants_of_few_rows_never_wait_and_each_row_has_its_turn(
    counts: list[int], times: tuple[float, float], max_rows: int
) -> None:
    by_tenant = {f"t{number}": count for number, count in enumerate(counts)}
    batch = Batch(*times, max_rows=max_rows, **by_tenant)
    few = {tenant: count for tenant, count in by_tenant.items() if count <= max_rows // 8}
    taken = [batch.step() for _ in range(40)]
    assert all(step[tenant] == count for step in taken for tenant, count in few.items())
    if len(few) < len(by_tenant):
        assert any(sum(step.values()) > sum(few.values()) for step in taken)
