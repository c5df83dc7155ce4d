import re
from collections.abc import Callable

import pytest
from harness.attacks import ATTACKS


@pytest.mark.slow
def test_no_error_is_found_and_the_load_is_printed(run_script: Callable[..., str]) -> None:
    printed = run_script("soak")
    assert re.search(r"^[\d,]+ requests answered .*; \d+ cancelled$", printed, re.MULTILINE), printed
    assert re.search(r"^[1-9]\d* aliases moved; ", printed, re.MULTILINE)
    assert re.search(r"^former versions were used for up to \d+\.\d+ s after the move", printed, re.MULTILINE)
    assert "no errors: every answer is that of its tenant and version" in printed
    for attack in ATTACKS:
        assert re.search(
            rf"^seconds of a victim beside {attack}: p50 [\d.]+, p99 [\d.]+ of [1-9]", printed, re.MULTILINE
        )
    assert "every request of the victim was answered" in printed
