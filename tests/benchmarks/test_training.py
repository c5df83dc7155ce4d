import re
from collections.abc import Callable


def test_a_line_for_each_contender_and_every_ratio_are_printed(
    run_script: Callable[..., str],
    read_figure: Callable[[str, str], float],
    check_results: Callable[..., list[str]],
) -> None:
    kept = check_results()
    printed = run_script(
        "training", "--sides", "peft", "ours", "ours-full", "--rounds", "1", "--batch-size", "3", *kept
    )
    assert check_results(kept) == ["peft", "ours", "ours-full"]
    assert all(read_figure(printed, name) > 0 for name in ("peft", "ours", "ours-full"))
    assert "ours / peft: " in printed
    assert "ours-full / peft: " in printed
    assert re.search(r"relative difference of the gradients \d\.\de-\d\d", printed)
