"""Progress: a step carries its numbers for progress bars; a sentence names the first ten of many, and counts."""

import logging

from components.stages.progress import LOGGER_NAME, StageProgress, count_nouns, join_abbreviated, report_progress


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


def test_a_number_has_its_noun():
    counted = [count_nouns(number, "drop") for number in (0, 1, 2000)]
    assert counted == ["0 drops", "1 drop", "2,000 drops"]
    assert [count_nouns(number, "drop waits", "drops wait") for number in (1, 2)] == ["1 drop waits", "2 drops wait"]
