"""What each check counts, and when it calls a challenger worse, fine or unclear."""

import numpy as np
import pytest
from traffic import make_cell, make_minutes

from components.config.rollout import MarginsConfig, RolloutConfig
from components.rollout.policy.checks import run_checks
from components.rollout.store.observations import to_latency_bucket


def run_check(evidence, check, **config):
    return {one.check: one for one in run_checks(RolloutConfig(**config), evidence)}[check]


@pytest.mark.parametrize("check", ["errors", "empty", "repeated", "over_long"])
def test_a_check_finds_only_its_own_kind_of_bad_answers(check):
    evidence = make_minutes(30, {"requests": 30, check: 1}, {"requests": 10, check: 5})
    findings = {one.check: one for one in run_checks(RolloutConfig(), evidence)}
    assert findings[check].says == "worse"
    assert (findings[check].challenger_bad, findings[check].champion_bad) == (150, 30)
    assert not any(one.says == "worse" for one in findings.values() if one.check != check)
    better = make_minutes(300, {"requests": 30, check: 5}, {"requests": 10, check: 1})
    assert run_check(better, check).says == "fine"


def test_feedback_counts_opinions_not_requests():
    disliked = {"requests": 10, "liked": 4, "disliked": 6}
    evidence = make_minutes(40, {"requests": 100, "liked": 9, "disliked": 1}, disliked)
    assert run_check(evidence, "feedback").says == "worse"
    assert run_check(make_minutes(40, {"requests": 100}, {"requests": 10}), "feedback").says == "unclear"


def test_latency_is_compared_with_the_champion_s():
    generator = np.random.default_rng(0)

    def draw_latencies(count, scale_ms):
        buckets, times = np.unique(
            [to_latency_bucket(ms) for ms in generator.lognormal(0, 0.4, count) * scale_ms], return_counts=True
        )
        return dict(zip(buckets.tolist(), times.tolist(), strict=True))

    def traffic(slower, load=lambda at: 1.0):
        pairs = (
            (
                make_cell("challenger", at, requests=10, latencies=draw_latencies(10, 200 * slower * load(at))),
                make_cell("champion", at, requests=30, latencies=draw_latencies(30, 200 * load(at))),
            )
            for at in range(120)
        )
        return [one for pair in pairs for one in pair]

    assert run_check(traffic(2.0), "latency").says == "worse"
    assert run_check(traffic(1.0), "latency").says != "worse"
    # All answers of both arms are three times slower for 15 minutes.
    assert run_check(traffic(1.0, lambda at: 3.0 if 40 <= at < 55 else 1.0), "latency").says != "worse"


def test_a_challenger_is_not_worse_because_its_share_grew_during_an_outage():
    """First few errors and a small share, then an outage of both arms and a large share; pooled rates would differ."""
    before = make_minutes(60, {"requests": 38, "errors": 0}, {"requests": 2, "errors": 0})
    outage = {"requests": 20, "errors": 10, "section": 3600}
    finding = run_check(before + make_minutes(60, outage, outage, start=60), "errors")
    pooled = finding.challenger_bad / finding.challenger / (finding.champion_bad / finding.champion)
    assert pooled > 2
    assert finding.says != "worse"


def test_a_check_without_a_margin_is_not_run_and_takes_no_part_of_the_false_alarm_rate():
    only = MarginsConfig(errors=2.0, latency=None, empty=None, repeated=None, over_long=None, feedback=None)
    findings = run_checks(RolloutConfig(margins=only, false_alarm=0.02), [])
    assert [(one.check, one.needed, one.says) for one in findings] == [("errors", 50.0, "unclear")]


def test_a_shadow_is_judged_neither_by_latency_nor_by_feedback():
    evidence = make_minutes(40, {"requests": 90, "liked": 50}, {"requests": 10, "disliked": 9, "latencies": {60: 10}})
    findings = run_checks(RolloutConfig(false_alarm=0.04), evidence, shadow=True)
    assert {one.check: one.needed for one in findings} == dict.fromkeys(
        ["errors", "empty", "repeated", "over_long"], 100.0
    )


def test_about_850_answers_without_a_bad_one_prove_a_challenger_fine():
    assert run_check(make_minutes(80, {"requests": 90}, {"requests": 10}), "errors").says == "unclear"
    assert run_check(make_minutes(90, {"requests": 90}, {"requests": 10}), "errors").says == "fine"
    some_bad = make_minutes(200, {"requests": 90, "errors": 1}, {"requests": 10, "errors": 1})
    assert run_check(some_bad, "errors").says != "fine"
