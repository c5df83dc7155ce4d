"""What the parts of a fleet did not keep is found, and the table counts it."""

import pytest
from compressed_days import make_day


def test_a_day_that_was_stopped_names_the_nights_that_it_lacks() -> None:
    from compressed_day.part_promises import judge_nights

    assert len(judge_nights(make_day(nights={})).broken) == 3


def test_growing_memory_and_a_page_are_found_and_the_table_counts_what_is_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from compressed_day.part_promises import judge_alerts, judge_memory
    from compressed_day.promise import print_table

    kept = [judge_memory({"server-1": (300.0, 0.5, 9.0)}, 5.0), judge_alerts({"PrefixFleetServerDown": "warning"})]
    broken = [judge_memory({"server-1": (300.0, 9.0, 9.0)}, 5.0), judge_alerts({"PrefixFleetNoServer": "critical"})]
    assert print_table([*kept, *broken]) == 2
    printed = capsys.readouterr().out
    assert "warnings: PrefixFleetServerDown" in printed
    assert "! PrefixFleetNoServer" in printed
