"""From counted minutes to findings: what each check looks at, what a moving share does, and what fleets cost."""

import numpy as np
import pytest

from components.config.rollout import MarginsConfig, RolloutConfig
from components.rollout.policy.checks import run_checks
from components.rollout.policy.sequential_test import Stratum
from components.rollout.policy.strata import build_strata
from components.rollout.store.observations import to_latency_bucket
from components.rollout.types import Observation


def cell(arm, minute, **counts):
    version = "2" if arm == "challenger" else "1"
    return Observation(tenant="acme", version=version, arm=arm, minute=minute, **counts)


def minutes(count, champion, challenger, start=0):
    pairs = (
        (cell("challenger", start + at, **challenger), cell("champion", start + at, **champion)) for at in range(count)
    )
    return [one for pair in pairs for one in pair]


def says(seen, check, **config):
    return {one.check: one.says for one in run_checks(RolloutConfig(**config), seen)}[check]


@pytest.mark.parametrize("check", ["errors", "empty", "repeated", "over_long"])
def test_each_check_sees_its_own_trouble(check):
    seen = minutes(30, {"requests": 30, check: 1}, {"requests": 10, check: 5})
    found = {one.check: one for one in run_checks(RolloutConfig(), seen)}
    assert found[check].says == "worse"
    assert (found[check].challenger_bad, found[check].champion_bad) == (150, 30)
    assert not any(one.says == "worse" for one in found.values() if one.check != check)
    assert says(minutes(300, {"requests": 30, check: 5}, {"requests": 10, check: 1}), check) == "fine"


def test_feedback_counts_opinions_alone():
    seen = minutes(40, {"requests": 100, "liked": 9, "disliked": 1}, {"requests": 10, "liked": 4, "disliked": 6})
    assert says(seen, "feedback") == "worse"
    assert says(minutes(40, {"requests": 100}, {"requests": 10}), "feedback") == "unclear"


def test_latency_is_laid_against_the_champion_s_own():
    generator = np.random.default_rng(0)

    def drawn(count, scale_ms):
        buckets, times = np.unique(
            [to_latency_bucket(ms) for ms in generator.lognormal(0, 0.4, count) * scale_ms], return_counts=True
        )
        return dict(zip(buckets.tolist(), times.tolist(), strict=True))

    def traffic(slower, load=lambda at: 1.0):
        pairs = (
            (
                cell("challenger", at, requests=10, latencies=drawn(10, 200 * slower * load(at))),
                cell("champion", at, requests=30, latencies=drawn(30, 200 * load(at))),
            )
            for at in range(120)
        )
        return [one for pair in pairs for one in pair]

    assert says(traffic(2.0), "latency") == "worse"
    assert says(traffic(1.0), "latency") != "worse"
    # Every answer three times slower for a quarter of an hour: both arms alike, so no fault of the challenger's.
    assert says(traffic(1.0, lambda at: 3.0 if 40 <= at < 55 else 1.0), "latency") != "worse"


def test_buckets_are_the_least_that_hold_a_latency():
    def upper_ms(number):
        return 2.0 ** (number / 4)

    for ms in (0.2, 1.0, 1.01, 37.0, 250.0, 60_000.0):
        assert ms <= upper_ms(to_latency_bucket(ms)) or ms < 1
        assert to_latency_bucket(ms) == 0 or upper_ms(to_latency_bucket(ms) - 1) < ms


def test_a_share_that_grows_during_an_outage_is_no_fault_of_the_challenger():
    """Before: few errors and a small share; after: an outage for all and a large share. Pooled, it would look worse."""
    before = minutes(60, {"requests": 38, "errors": 0}, {"requests": 2, "errors": 0})
    outage = {"requests": 20, "errors": 10, "section": 3600}
    found = {one.check: one for one in run_checks(RolloutConfig(), before + minutes(60, outage, outage, start=60))}[
        "errors"
    ]
    pooled = found.challenger_bad / found.challenger / (found.champion_bad / found.champion)
    assert pooled > 2
    assert found.says != "worse"


def test_strata_end_with_their_size_and_with_the_share():
    one = {"requests": 8}
    seen = minutes(9, one, {"requests": 2, "errors": 1})
    assert build_strata("errors", seen) == [Stratum(16, 0, 4, 2)] * 4
    # A server that has not heard of the next share yet goes on within the one before; what stood open there is closed.
    later = minutes(5, {**one, "section": 120}, {"requests": 2, "section": 120}, start=2)
    assert build_strata("errors", seen[:6] + later) == [
        Stratum(16, 0, 4, 2),
        Stratum(8, 0, 2, 1),
        *[Stratum(16, 0, 4, 0)] * 2,
    ]


def test_a_busy_trial_is_a_few_hundred_strata_and_a_look_between_changes_nothing():
    seen = minutes(4320, {"requests": 300, "errors": 3}, {"requests": 100, "errors": 1})
    whole = build_strata("errors", seen)
    assert len(whole) < 300
    part = build_strata("errors", seen[:3000])
    assert whole[: len(part)] == part


def test_checks_without_a_margin_are_not_made_and_the_rate_is_shared_by_the_others():
    only = MarginsConfig(errors=2.0, latency=None, empty=None, repeated=None, over_long=None, feedback=None)
    found = run_checks(RolloutConfig(margins=only, false_alarm=0.02), [])
    assert [(one.check, one.needed, one.says) for one in found] == [("errors", 50.0, "unclear")]


def test_a_shadow_is_judged_by_what_it_wrote_alone():
    seen = minutes(40, {"requests": 90, "liked": 50}, {"requests": 10, "disliked": 9, "latencies": {60: 10}})
    found = run_checks(RolloutConfig(false_alarm=0.04), seen, shadow=True)
    assert {one.check: one.needed for one in found} == dict.fromkeys(
        ["errors", "empty", "repeated", "over_long"], 100.0
    )


def test_counts_that_cannot_be_do_no_harm():
    odd = minutes(3, {"requests": 9, "errors": 12}, {"requests": 9, "empty": 30})
    assert build_strata("empty", odd) == [Stratum(0, 0, 27, 27)]
    assert build_strata("errors", minutes(2, {"requests": 9}, {"requests": 9, "errors": 30})) == [
        Stratum(18, 0, 18, 18)
    ]


def test_no_bad_answers_at_all_prove_enough_after_some_850():
    assert says(minutes(80, {"requests": 90}, {"requests": 10}), "errors") == "unclear"
    assert says(minutes(90, {"requests": 90}, {"requests": 10}), "errors") == "fine"
    assert says(minutes(200, {"requests": 90, "errors": 1}, {"requests": 10, "errors": 1}), "errors") != "fine"
