"""The tally of a blind comparison and its interval."""

import pytest
from scipy.stats import binomtest

from components.evaluation.preference import PreferenceTally, compute_wilson_interval


@pytest.mark.parametrize(("successes", "total"), [(0, 1), (1, 1), (3, 10), (10, 10), (480, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_is_scipy_s(successes, total, confidence):
    expected = binomtest(successes, total).proportion_ci(confidence, "wilson")
    assert compute_wilson_interval(successes, total, confidence) == pytest.approx((expected.low, expected.high))


def test_without_observations_nothing_is_known():
    assert compute_wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        (PreferenceTally(), "No choice between version 1 and version 2 yet."),
        (PreferenceTally(neither=4), "No choice between version 1 and version 2 yet."),
        (PreferenceTally(3, 5, 1), "version 2 preferred in 5 of 8 choices, and 1 without a preference: 62%"),
        (PreferenceTally(3, 5), "neither is shown to be better."),
        (PreferenceTally(2, 20), "version 2 is better."),
        (PreferenceTally(20, 2), "version 1 is better."),
    ],
)
def test_a_tally_is_a_sentence(tally, said):
    assert said in tally.describe("version 1", "version 2")
