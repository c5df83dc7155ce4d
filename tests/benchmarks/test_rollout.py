import re
from collections.abc import Callable

import pytest


@pytest.mark.slow
def test_cycles_on_each_database_and_the_reading_of_aliases_are_printed(run_script: Callable[..., str]) -> None:
    printed = run_script("rollout")
    cycles = re.search(r"^SQLite, later cycles: [\d.]+ \[.* queries: \d+ to the rollout", printed, re.MULTILINE)
    assert cycles, printed
    for source in ("the database", "MLflow's server"):
        assert re.search(rf"^all aliases from {source}: [\d.]+ .*one by one [\d.]+", printed, re.MULTILINE), printed
