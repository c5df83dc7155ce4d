import re
from collections.abc import Callable


def test_the_total_time_of_each_contender_is_printed(
    run_script: Callable[..., str],
    read_figure: Callable[[str, str], float],
    check_results: Callable[..., list[str]],
) -> None:
    kept = check_results()
    printed = run_script("fleet_training", "--examples", "4", "--batch-size", "2", *kept)
    contenders = ("peft one by one", "PrefixFleet one by one", "PrefixFleet together")
    assert all(read_figure(printed, name) > 0 for name in contenders)
    assert len(re.findall(r" x as fast as ", printed)) == 3
    assert check_results(kept) == list(contenders)
