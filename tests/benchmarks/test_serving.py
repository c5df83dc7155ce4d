import re
from collections.abc import Callable

import pytest

CONTENDERS = (
    "PrefixFleet",
    "PrefixFleet, one tenant",
    "PrefixFleet, HTTP",
    "a batch per tenant",
    "peft, adapter per request",
)


@pytest.mark.slow
def test_every_contender_swaps_and_memory_are_printed(
    run_script: Callable[..., str],
    read_figure: Callable[[str, str], float],
    check_results: Callable[..., list[str]],
) -> None:
    """The script itself checks that all contenders give the same texts."""
    kept = check_results()
    printed = run_script("serving", "--http", *kept)
    assert sorted(set(check_results(kept))) == sorted(CONTENDERS)
    for tenants in ("1", "5"):
        assert all(read_figure(printed, f"{tenants} {name}") > 0 for name in CONTENDERS)
    assert re.search(r"^time to load a version: [\d.]+ \[.*\] ms", printed, re.MULTILINE)
    assert "30 artifacts registered, 12 requested" in printed
    assert "10 are resident" in printed
