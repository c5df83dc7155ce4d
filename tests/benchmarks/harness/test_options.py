from pathlib import Path

import pytest


@pytest.mark.parametrize(("arguments", "shape"), [([], ["small"]), (["--quick"], ["tiny"]), (["--full"], ["medium"])])
def test_options_that_are_not_passed_come_from_the_preset(arguments: list[str], shape: list[str]) -> None:
    from harness.options import fill_options, make_parser

    presets = {name: {"shape": [one], "rounds": 2} for name, one in (("default", "small"), ("quick", "tiny"))}
    presets["full"] = {"shape": ["medium"], "rounds": 2}
    options = fill_options(make_parser("about").parse_args([*arguments, "--rounds", "7"]), presets)
    assert (options.shape, options.rounds) == (shape, 7)


@pytest.mark.usefixtures("clean_environment")
def test_bases_by_shape_are_removed_and_given_bases_are_used() -> None:
    from harness.options import make_bases, make_parser

    with make_bases(make_parser("about").parse_args(["--shape", "tiny"])) as (made,):
        assert (made.name, (made / "config.json").is_file()) == ("gpt2-tiny", True)
    assert not made.exists()
    with make_bases(make_parser("about").parse_args(["--shape", "tiny", "--base", "folder"])) as bases:
        assert bases == [Path("folder")]


def test_a_spread_is_the_median_with_the_least_and_the_greatest() -> None:
    from harness.options import format_spread

    assert format_spread([3.0, 1.0, 2.0], ".1f") == "2.0 [1.0, 3.0]"
