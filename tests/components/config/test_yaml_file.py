"""Files that are not a params.yaml at all: each error names the file and, for broken YAML, the line."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from components.config import load_params, load_workspace_params
from components.config.yaml_file import format_yaml, parse_yaml, read_sections
from components.errors import ConfigError

GOOD = "base: {path: base}\n"


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("train: {seed: 1}\ntrain: {max_steps: 3}", ":3: duplicate key 'train'"),
        ("train: [1,", ":3: expected the node content"),
    ],
)
def test_broken_yaml_names_the_line(refused, line, got):
    problem = refused(f"{GOOD}{line}\n")
    assert got in problem.got
    assert problem.fix == "correct this line"
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "an empty file"),
        ("- 1\n", "a list"),
        (b"\xff\xfe", "can't decode byte 0xff"),
    ],
)
def test_a_wrong_file_raises_an_error(refused, text, got):
    assert got in refused(text).got


def test_a_path_without_a_file_raises_an_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no file .*params\.yaml.*top folder"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_params(tmp_path)


def test_overriding_a_merged_yaml_key_is_no_duplicate(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(
        f"{GOOD}train: &common {{seed: 1, max_steps: 3}}\ntenants: {{acme: {{train: {{<<: *common, seed: 2}}}}}}\n"
    )
    assert load_params(path).for_tenant("acme").train.seed == 2


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ("010", 'write 8 or 10, or "010" for text'),
        ("-017", 'write -15 or -17, or "-017" for text'),
        ("08", 'write 8, or "08" for text'),
        ("0o17", 'write 15, or "0o17" for text'),
        ("1:30", 'write 90, or "1:30" for text'),
        ("1_000", 'write 1000, or "1_000" for text'),
        ("1_0.5", 'write "1_0.5" for text'),
        ("1:30.5", 'write "1:30.5" for text'),
        ("0b101", 'write 5, or "0b101" for text'),
        ("yes", 'write true, or "yes" for text'),
        ("On", 'write true, or "On" for text'),
        ("NO", 'write false, or "NO" for text'),
        ("off", 'write false, or "off" for text'),
        ("2024-01-01", 'write "2024-01-01" for text'),
        ("2024-01-01 10:00:00", 'write "2024-01-01 10:00:00" for text'),
        ("=", 'write "=" for text'),
    ],
)
def test_a_value_that_yaml_1_1_and_1_2_read_differently_is_refused_with_its_line(refused, value, fix):
    for text in (
        f"train:\n  init_text: {value}\n",
        f"train:\n  banned: [a, {value}]\n",
        f"tenants:\n  {value}: {{}}\n",
    ):
        problem = refused(GOOD + text)
        assert f"params.yaml:3: {value}, which some programs read as" in problem.got
        assert problem.fix.startswith(fix)


@pytest.mark.parametrize(
    ("line", "got", "fix"),
    [
        ("{exchange: s3://bucket/a}", "s3://bucket/a in braces or brackets", 'write "s3://bucket/a"'),
        ("[env:SECRET]", "env:SECRET in braces or brackets", 'write "env:SECRET"'),
        ("[a, {b: [c:]}]", "a key without a value in braces", "write null"),
        ("! text", "the tag !", "correct this line"),
    ],
)
def test_what_dvc_does_not_read_is_refused_with_its_line(refused, line, got, fix):
    problem = refused(f"{GOOD}workers: {line}\n")
    assert f"params.yaml:2: {got}" in problem.got
    assert problem.fix.startswith(fix)


FORMS = ("a: {}", "a: {{b: {}}}", "a: [{}]", "a: [x, {}, y]", "a: {{{}: 1}}", "- {}", "a:\n  {}: 1", "a: x\n  {}")


@settings(max_examples=300)
@given(form=st.sampled_from(FORMS), text=st.text("ab1:?#@!&*%|>-,[]{}'\"`~=. /\\", min_size=1, max_size=4))
@example("a: [{}]", "a:")
@example("a: [{}]", "? ")
@example("a: {{b: {}}}", "a:b")
@example("a: {}", "! ")
def test_dvcs_reader_reads_what_is_accepted_as_the_same_values(form, text):
    try:
        values = parse_yaml(form.format(text), "x")
    except ConfigError:
        return
    assert repr(YAML(typ="safe").load(form.format(text))) == repr(values)


@pytest.mark.parametrize("quotes", ["'{}'", '"{}"'])
@pytest.mark.parametrize("value", ["010", "1:30", "yes", "2024-01-01", "1_000", "1e-3", "null", "~", "="])
def test_the_same_value_in_quotes_is_text(value, quotes):
    assert parse_yaml(f"key: {quotes.format(value)}", "x") == {"key": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("+12", 12),
        ("0x1f", 31),
        ("0", 0),
        ("-0", 0),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("y", "y"),
        ("nO", "nO"),
        ("1.2.3", "1.2.3"),
        ("12 apples", "12 apples"),
        ("a: b", {"a": "b"}),
        ("!!str 010", "010"),
    ],
)
def test_other_values_are_read_by_yaml_1_2(text, value):
    read = parse_yaml(f"key: {text}" if ": " not in text else f"key: {{{text}}}", "x")["key"]
    assert (read, type(read)) == (value, type(value))


NESTED_ALIASES = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{chr(ord(name) - 1)}'] * 9)}]\n" for name in "bcdefgh"
)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("a: &x [1, *x]", "a value that contains itself"),
        (NESTED_ALIASES, "aliases that expand too far"),
        ("[1, 2]: 3", "a key that is no text"),
        ("? {a: b}\n: 3", "a key that is no text"),
        ("[" * 5_000, "nested too deeply"),
        ("a: " + "9" * 5_000, "Exceeds the limit"),
        ("a: !!timestamp 2024-13-45", "the tag !!timestamp, which is not supported"),
        ("a: !!int x", "the tag !!int"),
        ("a: !!set {b, c}", "the tag !!set"),
        ("a: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system"),
        ("a: \x07", "special characters are not allowed"),
        ("a: *b", "found undefined alias"),
    ],
)
def test_unusual_yaml_raises_an_error(text, got):
    with pytest.raises(ConfigError) as problem:
        parse_yaml(text, "x")
    assert got in problem.value.got


PIECES = ["a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ", ", "&x ", "*x", "<<: ", "'", '"', "!!int ", "!!float ",
          "!!set ", "!!timestamp ", "!!binary ", "? ", "|", ">", "#", "%", "@", "1e400", "010", "~", "\t", "\u2028",
          "---", "base: {path: b}\n", "train: ", "seed: ", "tenants: ", "2024-01-01", "9" * 50, "é", "..."]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=25).map(lambda p: "".join(p).encode())
)
def test_any_bytes_are_parameters_or_a_config_error(tmp_path: Path, content: bytes):
    (tmp_path / "overrides").mkdir(exist_ok=True)
    for name in ("params.yaml", "overrides/acme.yaml"):
        (tmp_path / "params.yaml").write_bytes(GOOD.encode())
        (tmp_path / name).write_bytes(content)
        try:
            load_workspace_params(tmp_path)
        except ConfigError as problem:
            text = str(problem)
            assert "\n" not in text
        (tmp_path / "overrides/acme.yaml").unlink(missing_ok=True)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
    | st.text("0123456789+-.:_eEoxXnN", max_size=8)
)
@example("1e5")
@example("0o17")
@example("010")
@example("1:30")
@example("no")
def test_every_text_that_is_written_is_read_as_the_same_text(text):
    assert parse_yaml(format_yaml({"a": text}), "x") == {"a": text}


def test_the_projects_own_files_read_as_plain_yaml_does():
    root = Path(__file__).parents[3]
    for path in (root / "params.yaml", *(root / "overrides").glob("*.yaml")):
        assert read_sections(path) == yaml.safe_load(path.read_text())
