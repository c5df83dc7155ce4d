"""What the parts of a fleet did not keep is found, and the table counts it."""

import pytest
from compressed_days import make_day
from waiting import wait_until


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


def test_a_watch_goes_on_after_a_look_that_failed_and_one_that_saw_nothing_is_found() -> None:
    from compressed_day.part_promises import judge_watches
    from compressed_day.watch import Watch

    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            raise OSError

    watch = Watch(look, 0.01)
    watch.start()
    wait_until(lambda: len(looks) > 2, "three looks")
    watch.stop()
    assert watch.failures == ["OSError()"]
    assert judge_watches({"memory": watch}).is_kept
    assert not judge_watches({"memory": watch, "alerts": Watch(look, 1.0)}).is_kept
    watch.failures *= watch.looks
    assert not judge_watches({"memory": watch}).is_kept
