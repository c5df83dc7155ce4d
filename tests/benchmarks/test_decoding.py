import re
from collections.abc import Callable


def test_the_best_settings_are_compared(
    run_script: Callable[..., str], read_figure: Callable[[str, str], float]
) -> None:
    """The script itself checks that all contenders give the same tokens in float32."""
    printed = run_script("decoding", "--inputs", "4", "--single", "2", "--tenants", "1", "2", "--beams", "2")
    assert read_figure(printed, "PrefixFleet float32") > 0
    assert len(re.findall(r"^best of each: PrefixFleet \w+ / peft", printed, re.MULTILINE)) == 2
