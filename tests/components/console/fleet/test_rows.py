"""What needs attention: states, trials that wait for a person, pauses and pins."""

from components.console.fleet.rows import FleetRow, find_attention


def test_a_trial_that_goes_on_by_itself_needs_no_attention():
    rows = [
        FleetRow(tenant="alder", state="on-trial", trial="canary"),
        FleetRow(tenant="birch", state="on-trial", trial="manual", waits_for_person=True),
        FleetRow(tenant="cedar", state="healthy", is_pinned=True),
        FleetRow(tenant="dale", state="refused"),
    ]
    found = {one.filter: [row.tenant for row in one.rows] for one in find_attention(rows)}
    assert found == {"refused": ["dale"], "waiting": ["birch"], "pinned": ["cedar"]}
