"""Progress: a step carries its numbers for progress bars; a sentence names the first ten of many."""

import logging

from components.stages.progress import LOGGER_NAME, StageProgress, join_abbreviated, report_progress


def test_a_step_is_logged_at_debug_level_with_its_numbers(caplog):
    progress = StageProgress("training", "alder", 3, 10, "validation loss 1.5")
    with caplog.at_level(logging.DEBUG, logger=LOGGER_NAME):
        report_progress(progress)
    (record,) = caplog.records
    assert (record.levelname, record.progress) == ("DEBUG", progress)
    assert record.getMessage() == "alder: training 3/10 validation loss 1.5"


def test_of_many_parts_the_first_ten_are_joined():
    parts = [f"t{number}" for number in range(2000)]
    assert join_abbreviated(parts[:10]) == ", ".join(parts[:10])
    assert join_abbreviated(parts, "; ") == "; ".join([*parts[:10], "and 1,990 more"])
