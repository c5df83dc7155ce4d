"""One trial in full: its evidence is the cycle's own, its traffic is by arm."""

import pytest

from components.registry.mlflow.versions import CHALLENGER
from components.rollout.store.findings_cache import read_findings
from components.stages.rollout.trial_evidence import read_trial_evidence


def read(fleet, hours, tenant="alder"):
    workspace = fleet.workspace
    challenger = workspace.registry.poll_aliased(CHALLENGER)[CHALLENGER].get(tenant)
    return read_trial_evidence(workspace, tenant, challenger, fleet.now_s + hours * 3600)


def test_the_evidence_is_what_the_cycle_judges_by(fleet):
    assert read(fleet, 0.0) is None
    fleet.roll_out("alder")
    fleet.register("alder")
    fleet.roll_out("alder")
    begun = read(fleet, 0.1)
    assert (begun.state.challenger, begun.traffic, [list(one.answers) for one in begun.traces]) == ("2", [], [[]] * 6)

    fleet.add_observations("alder", 25, {"requests": 18}, {"requests": 2})
    fleet.run_cycle(0.5)
    trial = read(fleet, 0.5)
    judged = read_findings(fleet.workspace.database)["alder"].findings
    assert [one.finding for one in trial.traces] == judged
    errors = trial.traces[0]
    assert (errors.finding.check, errors.answers[-1], len(errors.minutes)) == ("errors", 400, 20)
    assert list(errors.minutes) == [fleet.minute + at for at in range(5, 25)]
    assert trial.period_minutes == 1
    assert [(one.champion, one.challenger) for one in trial.traffic] == [(18, 2)] * 20
    assert trial.traffic[0].minute == fleet.minute + 5
    assert "more hours at 10%" in trial.progress.waits_for


def test_a_long_trial_has_few_periods(fleet):
    fleet.roll_out("alder")
    fleet.register("alder")
    fleet.roll_out("alder")
    fleet.add_observations("alder", 500, {"requests": 9}, {"requests": 1})
    trial = read(fleet, 20.0)
    assert trial.period_minutes == 6
    assert sum(one.challenger for one in trial.traffic) == 495
    assert len(trial.traffic) == pytest.approx(83, abs=1)


def test_a_challenger_that_no_cycle_has_seen_has_no_evidence_yet(fleet):
    fleet.register("birch")
    fleet.set_aliases("birch", champion="1", challenger="2")
    trial = read(fleet, 0.0, "birch")
    assert (trial.traces, trial.progress.waits_for.startswith("the alias was set in MLflow")) == ((), True)
