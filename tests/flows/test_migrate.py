"""The flow `migrate`: nothing without a next base; its report."""

import pytest

from components.stages.migration.waves import WaveResult
from components.stages.outcome import TenantOutcome
from flows.migrate import make_page
from flows.run_local import run_flow


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_without_a_next_base_the_nightly_wave_does_nothing(make_root):
    assert run_flow("migrate", make_root(("alder",))) == WaveResult()


def test_a_report_names_who_was_switched_over_and_why_others_were_not():
    result = WaveResult("next base abc: 2 moved", [TenantOutcome("cedar", "train", "failed", "too long")])
    result.switched, result.rejected = {"alder": "2"}, {"birch": "BLEU 3 is below its floor of 40."}
    page = make_page(result)
    assert page.startswith(
        "# Migration\n\nnext base abc: 2 moved; this wave switched 1 over, rejected birch, failed cedar"
    )
    assert "- alder: version 2\n" in page
    assert "- **birch**: BLEU 3 is below its floor of 40.\n" in page
    assert page.endswith("- **cedar** failed to train: too long\n")
