"""Simulations with users who stay in one arm and differ from each other: error rates hold, differences are found.

Answers pass the real traffic split, and one answer of each key in each section is evidence, as
`components.rollout.store.evidence_writer` counts them. Only the check `errors` is judged, at the evidence that it needs
among all six checks.
"""

from math import comb

import numpy as np
import pytest
from sizes import SIZES

from components.config.rollout import ROLLOUT_CHECKS, RolloutConfig
from components.rollout.policy.checks import run_checks, trace_check
from components.rollout.policy.strata import build_strata
from components.rollout.policy.traffic_split import assign_arm
from components.rollout.types import Exposure, Observation

MINUTES = 240
STEPS = ((0, 0.05, 0.0), (60, 0.25, 0.05), (150, 0.5, 0.25))
"""First minute, share, share before."""
RUNS = 100


def change_odds(rates, ratio):
    """Rates whose odds are `ratio` times those of `rates`."""
    return ratio * rates / (1 - rates + ratio * rates)


def simulate_trial(generator, number, rates, answers, ratio, steps=STEPS):
    """Answer each user so often, at random times; returns (evidence, all answers as if each were evidence)."""
    minutes = np.sort(generator.integers(0, MINUTES, (len(rates), answers)), axis=1)
    chances = generator.random(minutes.shape)
    step_of = np.searchsorted([first for first, _, _ in steps], minutes, side="right") - 1
    exposures = [Exposure(f"{number}", share, False, before, 60 + first) for first, share, before in steps]
    evidence, every_answer = {}, {}
    for user, rate in enumerate(rates):
        bad_rates = {"champion": rate, "challenger": change_odds(rate, ratio)}
        previous = None
        for minute, chance, step in zip(
            *(column[user].tolist() for column in (minutes, chances, step_of)), strict=True
        ):
            is_first = step != previous
            if is_first:
                previous = step
                arm, ticket = assign_arm("acme", f"user-{user}", exposures[step])
            for counts in (every_answer, evidence) if is_first and ticket else (every_answer,):
                sums = counts.setdefault((exposures[step].share_started_s, minute, arm), [0, 0])
                sums[0] += 1
                sums[1] += chance < bad_rates[arm]
    return make_observations(evidence), make_observations(every_answer)


def make_observations(counts):
    return [
        Observation(
            tenant="acme", version="2", arm=arm, minute=minute, section=section, requests=requests, errors=errors
        )
        for (section, minute, arm), (requests, errors) in sorted(counts.items())
    ]


def judge_errors(evidence, false_alarm=0.01):
    config = RolloutConfig(false_alarm=false_alarm)
    strata, needed = build_strata("errors", evidence), len(ROLLOUT_CHECKS) / false_alarm
    return trace_check("errors", strata, config.margins.errors, config.tolerated, needed).finding


def is_worse(evidence, false_alarm=0.01):
    return judge_errors(evidence, false_alarm).says == "worse"


def compute_chance(alarms, runs, rate):
    """The probability of so many alarms or more, where each trial raises one at `rate`: the exact binomial tail."""
    return sum(comb(runs, k) * rate**k * (1 - rate) ** (runs - k) for k in range(alarms, runs + 1))


def test_these_simulations_judge_as_a_trial_is_judged():
    generator = np.random.default_rng(4)
    evidence, _ = simulate_trial(generator, 0, generator.beta(0.1, 0.9, 60), 64, 20.0)
    for false_alarm in (0.01, 0.2):
        assert judge_errors(evidence, false_alarm) == run_checks(RolloutConfig(false_alarm=false_alarm), evidence)[0]


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_users_who_differ_raise_no_more_false_alarms_than_stated(ratio):
    """60 users with 64 answers each; any version answers one user in ten badly nearly always."""
    generator, alarms, alarms_by_every_answer = np.random.default_rng(5), 0, 0
    for number in range(RUNS):
        evidence, every_answer = simulate_trial(generator, number, generator.beta(0.1, 0.9, 60), 64, ratio)
        alarms += is_worse(evidence)
        alarms_by_every_answer += is_worse(every_answer)
    assert compute_chance(alarms, RUNS, 0.01) > 0.05
    assert compute_chance(alarms_by_every_answer, RUNS, 0.01) < 1e-9, "counting every answer would hold the rate too"


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_many_users_raise_no_more_false_alarms_than_a_stated_rate_of_one_in_five(ratio):
    generator, runs, alarms = np.random.default_rng(6), 60, 0
    for number in range(runs):
        evidence, _ = simulate_trial(generator, number, generator.beta(0.5, 1.5, 400), 3, ratio)
        alarms += is_worse(evidence, 0.2)
    assert compute_chance(alarms, runs, 0.2) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "worse", "share", "users"), SIZES)
def test_a_real_difference_is_found_within_the_stated_number_of_users(rate, worse, share, users):
    """One user a minute, each with a rate of bad answers of its own; only a user's first answer counts."""
    generator, runs = np.random.default_rng(3), 30

    def is_found(number):
        exposure = Exposure(f"{number}", share, False, share_started_s=60)
        arms, tickets = zip(*(assign_arm("acme", f"user-{user}", exposure) for user in range(users)), strict=True)
        assert None not in tickets
        means = np.where(np.array(arms) == "challenger", worse, rate)
        bad = generator.random(users) < generator.beta(2 * means, 2 * (1 - means))
        answers = enumerate(zip(arms, bad.tolist(), strict=True))
        return is_worse(make_observations({(60, user, arm): (1, int(is_bad)) for user, (arm, is_bad) in answers}))

    assert sum(map(is_found, range(runs))) >= 0.9 * runs


# docs/rollout.md states these: each step randomises again the users of a tenant whose users are always the same.
DEFAULT_STEPS = ((0, 0.05, 0.0), (60, 0.25, 0.05), (150, 1.0, 0.25))
POOLS = [
    # rate of the champion, of the challenger, users, steps
    (0.01, 0.50, 100, DEFAULT_STEPS),
    (0.05, 0.50, 200, DEFAULT_STEPS),
    (0.10, 0.30, 1500, DEFAULT_STEPS),
    (0.01, 0.50, 60, STEPS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "worse", "users", "steps"), POOLS)
def test_a_real_difference_is_found_among_users_who_stay(rate, worse, users, steps):
    generator, runs = np.random.default_rng(9), 20
    ratio = worse / (1 - worse) * (1 - rate) / rate
    trials = (simulate_trial(generator, number, np.full(users, rate), 10, ratio, steps)[0] for number in range(runs))
    assert sum(map(is_worse, trials)) >= 0.9 * runs
