"""The command `generate`: its errors, and the values that `-S` sets for a call."""

import pytest

from cli import generate
from components.errors import ConfigError


def test_a_tenant_without_a_champion_exits_2(call, make_root):
    result = call(make_root(("alder",)), "generate", "alder", "thing: boat")
    assert result.exit_code == 2
    assert "a champion of alder" in result.stderr


def test_values_are_read_as_yaml():
    pairs = ["num_beams=5", "temperature=0.5", "banned=[a, b]", "split=a=b"]
    assert generate._parse_values(pairs) == {
        "num_beams": 5,
        "temperature": 0.5,
        "banned": ["a", "b"],
        "split": "a=b",
    }


@pytest.mark.parametrize("pair", ["num_beams", ""])
def test_a_value_without_an_equals_sign_is_refused(pair):
    with pytest.raises(ConfigError, match="KEY=VALUE after -S") as problem:
        generate._parse_values([pair])
    assert problem.value.got == repr(pair)


@pytest.mark.parametrize("pair", ["banned=[a", "seed=010", "seed=1:30"])
def test_a_value_that_is_no_yaml_or_has_two_meanings_is_refused(pair):
    with pytest.raises(ConfigError) as problem:
        generate._parse_values([pair])
    assert problem.value.got.startswith(f"-S {pair}:1: ")


def test_the_source_and_the_options_reach_the_stage(call, tmp_path, monkeypatch):
    calls = []

    def record(_workspace, tenant, sources, changed):
        calls.append((tenant, sources, changed))
        return ["first", "second"]

    monkeypatch.setattr("components.stages.commands.generate.generate", record)
    (tmp_path / "params.yaml").touch()
    result = call(tmp_path, "generate", "alder", "text", "--guidance", "1.5", "-S", "num_beams=5")
    assert result.stdout == "first\nsecond\n"
    assert calls == [("alder", ["text"], {"num_beams": 5, "guidance": 1.5})]
