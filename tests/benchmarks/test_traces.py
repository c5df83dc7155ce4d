import re
from collections.abc import Callable

import pytest


@pytest.mark.slow
def test_the_ratios_are_printed(run_script: Callable[..., str]) -> None:
    printed = run_script("traces")
    for mode in ("without traces", "every request traced", "and no answer from the collector"):
        assert re.search(rf"^{mode} +[\d,]+ \[.*\] tokens per processor second; .* / it \d+\.\d+ \[", printed, re.M)
