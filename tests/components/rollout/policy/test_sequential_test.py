"""The evidence against enumeration; false alarms and power by simulation with fixed seeds."""

from itertools import pairwise
from math import comb, log

import numpy as np
import pytest
from sizes import SIZES

from components.rollout.policy.sequential_test import (
    Stratum,
    average_log_evidence,
    compute_log_evidence,
    compute_log_evidence_below,
)
from components.rollout.policy.strata import build_strata
from components.rollout.types import Observation

ALPHA = 0.05


def change_odds(rate, ratio):
    """The rate whose odds are `ratio` times those of `rate`."""
    return ratio * rate / (1 - rate + ratio * rate)


def simulate_trial(generator, requests, rates, share, ratio):
    """One request a minute, in a random arm, bad with `rates[t]`; the challenger's odds are `ratio` times as high."""
    challenged = generator.random(requests) < share
    bad = generator.random(requests) < np.where(challenged, change_odds(rates, ratio), rates)
    return [
        Observation(
            tenant="acme", version="2", arm="challenger" if arm else "champion", minute=t, requests=1, errors=int(wrong)
        )
        for t, (arm, wrong) in enumerate(zip(challenged.tolist(), bad.tolist(), strict=True))
    ]


def test_the_evidence_is_as_enumerated_and_at_most_one_on_average():
    one, margin = Stratum(7, 2, 4, 3), 1.5

    def likelihood(ratio, count):
        weights = {x: comb(4, x) * comb(7, 5 - x) * ratio**x for x in range(5)}
        return weights[count] / sum(weights.values())

    factors = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
    for worse in (True, False):
        ratios = [margin * factor if worse else margin / factor for factor in factors]
        evidence = [np.mean([likelihood(ratio, x) / likelihood(margin, x) for ratio in ratios]) for x in range(5)]
        assert compute_log_evidence([one], margin, worse=worse)[0] == pytest.approx(log(evidence[3]))
        # At the margin its mean is 1, and beyond it less: an e-value.
        for ratio in (margin, margin / 2 if worse else margin * 2):
            mean = sum(likelihood(ratio, x) * evidence[x] for x in range(5))
            assert mean == pytest.approx(1.0) if ratio == margin else mean < 1
        assert all((later > earlier) == worse for earlier, later in pairwise(evidence))


def enumerate_outcomes(keys):
    """Probabilities of (challenger's, challenger's bad, all bad) for keys of (share, champion's rate, odds ratio)."""
    outcomes = {(0, 0, 0): 1.0}
    for share, rate, ratio in keys:
        after = {}
        for (size, challenger_bad, bad), chance in outcomes.items():
            for arm in (0, 1):
                wrong = change_odds(rate, ratio) if arm else rate
                for is_bad, part in ((1, wrong), (0, 1 - wrong)):
                    state = size + arm, challenger_bad + arm * is_bad, bad + is_bad
                    if drawn := share if arm else 1 - share:
                        after[state] = after.get(state, 0.0) + chance * part * drawn
        outcomes = after
    return outcomes


def mean_evidence(keys, margin):
    """Mean evidence given a stratum's sizes and number of bad answers, for all of these."""
    sums = {}
    for (size, challenger_bad, bad), chance in enumerate_outcomes(keys).items():
        one = Stratum(len(keys) - size, bad - challenger_bad, size, challenger_bad)
        total = sums.setdefault((size, bad), [0.0, 0.0])
        total[0] += chance
        total[1] += chance * np.exp(compute_log_evidence([one], margin, worse=True)[0])
    return [worth / chance for chance, worth in sums.values()]


@pytest.mark.parametrize("margin", [1.0, 1.5, 4.0])
def test_keys_that_differ_give_no_more_evidence_than_one_on_average(margin):
    generator = np.random.default_rng(7)
    for _ in range(6):
        rates = generator.beta(0.3, 0.7, 7)
        at_it = [(0.3, rate, margin) for rate in rates]
        assert max(mean_evidence(at_it, margin)) < 1 + 1e-9
        within = [(0.3, rate, ratio) for rate, ratio in zip(rates, generator.uniform(0.2, margin, 7), strict=True)]
        assert max(mean_evidence(within, margin)) < 1 + 1e-9


def test_a_stratum_with_two_shares_would_give_too_much_evidence():
    """So a key that was the challenger's before the share grew is no evidence afterwards."""
    mixed = [(0.9, 0.9, 1.0)] * 4 + [(0.1, 0.1, 1.0)] * 4
    assert max(mean_evidence(mixed, 1.0)) > 2


def test_pairs_of_a_shadow_give_no_more_evidence_than_one_on_average():
    generator = np.random.default_rng(8)
    for margin in (1.0, 1.5):
        rates = generator.beta(0.3, 0.7, 5)
        keys = [(side, rate, margin) for rate in rates for side in (0.0, 1.0)]
        assert max(mean_evidence(keys, margin)) < 1 + 1e-9


@pytest.mark.parametrize("nothing", [[], [Stratum(0, 0, 9, 9)], [Stratum(9, 3, 0, 0)], [Stratum(5, 0, 5, 0)]])
def test_one_arm_alone_or_no_bad_answers_give_no_evidence(nothing):
    assert compute_log_evidence(nothing, 1.5, worse=True) == pytest.approx([0.0] * len(nothing))


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_false_alarms_stay_below_the_stated_rate_over_all_evaluations(ratio):
    """Even at the margin itself, while the rate of bad answers of both arms varies between 1 % and 39 %."""
    generator, runs, alarms = np.random.default_rng(1), 100, 0
    rates = 0.2 + 0.19 * np.sin(np.arange(1500) / 60)
    for _ in range(runs):
        strata = build_strata("errors", simulate_trial(generator, len(rates), rates, 0.25, ratio))
        alarms += bool(compute_log_evidence(strata, 1.5, worse=True).max() >= log(1 / ALPHA))
    assert alarms <= ALPHA * runs


@pytest.mark.slow
def test_a_challenger_at_the_margin_is_seldom_called_no_worse():
    generator, runs, errors = np.random.default_rng(2), 100, 0
    for _ in range(runs):
        strata = build_strata("errors", simulate_trial(generator, 1500, np.full(1500, 0.2), 0.5, 1.5))
        errors += bool(compute_log_evidence(strata, 1.5, worse=False).max() >= log(1 / ALPHA))
    assert errors <= ALPHA * runs


@pytest.mark.slow
def test_a_challenger_at_or_above_the_level_is_seldom_called_below_it():
    generator, runs, errors = np.random.default_rng(4), 100, 0
    rates = 0.1 + 0.09 * np.abs(np.sin(np.arange(1500) / 60))
    for _ in range(runs):
        strata = build_strata("errors", simulate_trial(generator, len(rates), rates, 0.5, 1.0))
        both = average_log_evidence(
            compute_log_evidence(strata, 0.5, worse=False), compute_log_evidence_below(strata, 0.1)
        )
        errors += bool(both.max() >= log(1 / ALPHA))
    assert errors <= ALPHA * runs


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "worse", "share", "requests"), SIZES)
def test_a_real_difference_is_found_within_the_stated_size(rate, worse, share, requests):
    generator, runs, needed = np.random.default_rng(3), 20, log(6 / 0.01)
    ratio = worse / (1 - worse) * (1 - rate) / rate
    found = sum(
        bool(
            compute_log_evidence(
                build_strata("errors", simulate_trial(generator, requests, np.full(requests, rate), share, ratio)),
                1.5,
                worse=True,
            ).max()
            >= needed
        )
        for _ in range(runs)
    )
    assert found >= 0.9 * runs
