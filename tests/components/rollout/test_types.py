"""Findings in words and as JSON, and the start of a trial."""

import json

from components.rollout.types import Finding, RolloutState, ShareChange


def test_a_finding_is_a_sentence_and_json():
    finding = Finding("errors", "worse", 1350, 0, 150, 75, 1.5, 700.0, 0.5, 600.0)
    assert finding.sentence == "errors: challenger 75 bad of 150, champion 0 bad of 1350 (worse; odds ratio margin 1.5)"
    assert Finding(**json.loads(json.dumps(finding.to_dict()))) == finding


def test_a_trial_starts_with_its_first_share():
    changes = (ShareChange(119, 0.1), ShareChange(600, 0.5))
    assert RolloutState(tenant="acme", started_s=180.0, changes=changes).start_minute == 1
    assert RolloutState(tenant="acme", started_s=180.0).start_minute == 3
