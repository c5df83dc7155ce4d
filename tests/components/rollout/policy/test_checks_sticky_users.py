"""Users who keep to an arm and differ from each other: by simulation the stated rates hold, and trouble is found.

Answers pass the real split, and of each key one in each section is counted, as
`components.rollout.store.evidence_writer` does.
"""

from math import comb

import numpy as np
import pytest
from sizes import SIZES

from components.config.rollout import RolloutConfig
from components.rollout.policy.checks import run_checks
from components.rollout.policy.traffic_split import assign_arm
from components.rollout.types import Exposure, Observation

MINUTES = 240
STEPS = ((0, 0.05, 0.0), (60, 0.25, 0.05), (150, 0.5, 0.25))
"""First minute, share, share before."""
RUNS = 150


def odds(rates, ratio):
    return ratio * rates / (1 - rates + ratio * rates)


def trial(generator, number, rates, answers, ratio, steps=STEPS):
    """Each user is answered so often, at random; returns (evidence, all answers as if each were evidence)."""
    at = np.sort(generator.integers(0, MINUTES, (len(rates), answers)), axis=1)
    chance = generator.random(at.shape)
    counts = {}
    for step, (first, share, before) in enumerate(steps):
        until = steps[step + 1][0] if step + 1 < len(steps) else MINUTES
        exposure = Exposure(f"{number}", share, False, before, share_started_s=60 + first)
        for user, rate in enumerate(rates):
            arm, ticket = assign_arm("acme", f"user-{user}", exposure)
            here = np.flatnonzero((at[user] >= first) & (at[user] < until))
            bad = chance[user, here] < (odds(rate, ratio) if arm == "challenger" else rate)
            for place, (minute, wrong) in enumerate(zip(at[user, here].tolist(), bad.tolist(), strict=True)):
                for way in range(2 if place == 0 and ticket else 1):
                    sums = counts.setdefault((exposure.share_started_s, minute, arm, way), [0, 0])
                    sums[0] += 1
                    sums[1] += wrong
    every, evidence = (
        [
            Observation(
                tenant="acme", version="2", arm=arm, minute=minute, section=section, requests=requests, errors=errors
            )
            for (section, minute, arm, kind), (requests, errors) in sorted(counts.items())
            if kind == way
        ]
        for way in range(2)
    )
    return evidence, every


def alarms(generator, runs, rates_of, answers, ratio, false_alarm, which=0):
    """How many of so many trials take the challenger back."""
    config = RolloutConfig(false_alarm=false_alarm)
    found = (
        run_checks(config, trial(generator, number, rates_of(), answers, ratio)[which])[0].says
        for number in range(runs)
    )
    return sum(says == "worse" for says in found)


def chance_of(alarms_, runs, rate):
    """Of so many alarms or more, where each trial raises one at `rate`: the exact binomial tail."""
    return sum(comb(runs, k) * rate**k * (1 - rate) ** (runs - k) for k in range(alarms_, runs + 1))


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_users_who_differ_raise_no_more_alarms_than_stated(ratio):
    """Sixty users, sixty-four answers each; one in ten of the users is answered badly nearly always, by any version."""

    def run(which):
        generator = np.random.default_rng(5)
        return alarms(generator, RUNS, lambda: generator.beta(0.1, 0.9, 60), 64, ratio, 0.01, which)

    assert chance_of(run(0), RUNS, 0.01) > 0.05
    assert chance_of(run(1), RUNS, 0.01) < 1e-9, "counting every answer of a user would hold the rate too"


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_nor_do_many_users_at_a_stated_rate_of_one_in_five(ratio):
    generator = np.random.default_rng(6)
    raised = alarms(generator, 100, lambda: generator.beta(0.5, 1.5, 400), 3, ratio, 0.2)
    assert chance_of(raised, 100, 0.2) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "worse", "share", "users"), SIZES)
def test_a_real_difference_is_found_within_the_stated_number_of_users(rate, worse, share, users):
    """Users come one after the other, each with rates of his own; what he is answered after the first plays no part."""
    generator, runs = np.random.default_rng(3), 40

    def is_found(number):
        exposure, seen = Exposure(f"{number}", share, False, share_started_s=60), []
        for user in range(users):
            arm, ticket = assign_arm("acme", f"user-{user}", exposure)
            mean = worse if arm == "challenger" else rate
            bad = generator.random() < generator.beta(2 * mean, 2 * (1 - mean))
            assert ticket is not None
            seen.append(
                Observation(tenant="acme", version="2", arm=arm, minute=user, section=60, requests=1, errors=int(bad))
            )
        return run_checks(RolloutConfig(), seen)[0].says == "worse"

    assert sum(map(is_found, range(runs))) >= 0.9 * runs


# docs/rollout.md states these: of a tenant whose users are always the same, each step draws anew.
DEFAULTS = ((0, 0.05, 0.0), (60, 0.25, 0.05), (150, 1.0, 0.25))
POOLS = [
    # rate of the champion, of the challenger, users, steps
    (0.01, 0.50, 100, DEFAULTS),
    (0.05, 0.50, 200, DEFAULTS),
    (0.10, 0.30, 1500, DEFAULTS),
    (0.01, 0.50, 60, STEPS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "worse", "users", "steps"), POOLS)
def test_a_real_difference_is_found_among_users_who_stay(rate, worse, users, steps):
    generator, runs = np.random.default_rng(9), 40
    ratio = worse / (1 - worse) * (1 - rate) / rate
    trials = (trial(generator, number, np.full(users, rate), 10, ratio, steps)[0] for number in range(runs))
    assert sum(run_checks(RolloutConfig(), evidence)[0].says == "worse" for evidence in trials) >= 0.9 * runs
