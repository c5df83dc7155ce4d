import re
from collections.abc import Callable


def test_the_best_settings_are_compared(
    run_script: Callable[..., str],
    read_figure: Callable[[str, str], float],
    check_results: Callable[..., list[str]],
) -> None:
    """The script itself checks that all contenders give the same tokens in float32."""
    kept = check_results()
    printed = run_script("decoding", "--inputs", "4", "--single", "2", "--tenants", "1", "2", "--beams", "2", *kept)
    assert read_figure(printed, "PrefixFleet float32") > 0
    assert len(check_results(kept)) == 2 * (3 + 2)
    assert len(re.findall(r"^best of each: PrefixFleet \w+ / peft", printed, re.MULTILINE)) == 2
