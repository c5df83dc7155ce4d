"""Strata: where they end, how many there are, and what impossible counts do."""

from traffic import make_minutes

from components.rollout.policy.sequential_test import Stratum
from components.rollout.policy.strata import build_strata


def test_a_stratum_ends_at_its_size_and_with_its_section():
    one = {"requests": 8}
    evidence = make_minutes(9, one, {"requests": 2, "errors": 1})
    assert build_strata("errors", evidence) == [Stratum(16, 0, 4, 2)] * 4
    # Some servers still answer in the section before: its open stratum is closed, and the next section's are apart.
    later = make_minutes(5, {**one, "section": 120}, {"requests": 2, "section": 120}, start=2)
    assert build_strata("errors", evidence[:6] + later) == [
        Stratum(16, 0, 4, 2),
        Stratum(8, 0, 2, 1),
        *[Stratum(16, 0, 4, 0)] * 2,
    ]


def test_a_busy_trial_has_a_few_hundred_strata_and_more_answers_never_change_earlier_ones():
    evidence = make_minutes(4320, {"requests": 300, "errors": 3}, {"requests": 100, "errors": 1})
    whole = build_strata("errors", evidence)
    assert len(whole) < 300
    part = build_strata("errors", evidence[:3000])
    assert whole[: len(part)] == part


def test_impossible_counts_are_limited_to_possible_ones():
    impossible = make_minutes(3, {"requests": 9, "errors": 12}, {"requests": 9, "empty": 30})
    assert build_strata("empty", impossible) == [Stratum(0, 0, 27, 27)]
    assert build_strata("errors", make_minutes(2, {"requests": 9}, {"requests": 9, "errors": 30})) == [
        Stratum(18, 0, 18, 18)
    ]
