"""Overrides written into params.yaml as people write it: nothing else of the text or of its meaning changes."""

import difflib

import pytest
import yaml

from components.config import load_params
from components.data.digests import compute_file_digest
from components.errors import ConfigError, WorkspaceError
from components.stages.tuning.overrides import apply_override, format_override, write_override

VALUES = {"prefix_length": 5, "learning_rate": 1e-05, "initialization": "text", "init_text": None}
HEAD = (
    "base: {path: base}   # where\n\n\ntrain:   {prefix_length: 2}\ngate:\n  non_inferiority:\n      - {metric: bleu}\n"
)


def write(path, text, tenant="acme", values=VALUES):
    path.write_text(text, encoding="utf-8")
    write_override(path, compute_file_digest(path), load_params(path), tenant, values)
    return load_params(path)


def removed(before, after):
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("- ")]


@pytest.mark.parametrize(
    ("tail", "lost"),
    [
        ("", 0),
        ("\ntenants: {}\n", 1),
        ("\ntenants: {}  # nobody yet\n# the end\n", 1),
        ("tenants:\n  # first\n  beta:\n    train: {max_steps: 3}  # few\n", 0),
        ("tenants: {beta: {train: {max_steps: 3}}}\n", 1),
        ("tenants:\n    beta:\n        gate:\n            non_inferiority:\n                - {metric: ter}\n", 0),
        ("tenants:\n  beta:\n    evaluate:\n      banned:\n      - a\n      - 'b'\n      max_examples: null\n", 0),
        ("tenants:\n  beta:\n    evaluate:\n      banned:\n        - a\n      max_examples: ~\n", 0),
        ("tenants:\n  acme:\n    # own\n    train:\n      max_steps: 3  # few\n      prefix_length: 9 # long\n", 1),
        ("tenants:\n  acme: {gate: {min_slice: 4}}\n  beta: {train: {max_steps: 3}}\nregistry: {experiment: x}\n", 1),
        ("tenants:\n  acme:\n    gate: {min_slice: 4}\n\n# about the registry\nregistry: {experiment: x}  # y\n", 0),
    ],
)
def test_comments_order_and_the_rest_stay(tmp_path, tail, lost):
    path, before = tmp_path / "params.yaml", HEAD + tail
    old = yaml.safe_load(before).get("tenants") or {}
    params = write(path, before)
    after = path.read_text(encoding="utf-8")
    assert after.startswith(HEAD)
    assert len(removed(before, after)) == lost
    assert [line.partition("#")[2] for line in before.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in after.splitlines() if "#" in line
    ]
    train = params.for_tenant("acme").train
    assert (train.prefix_length, train.learning_rate, train.init_text) == (5, 1e-05, None)
    assert {name: one for name, one in params.tenants.items() if name != "acme"} == {
        name: one for name, one in old.items() if name != "acme"
    }
    for section, values in (old.get("acme") or {}).items():
        assert {**values, **(VALUES if section == "train" else {})} == params.tenants["acme"][section]


@pytest.mark.parametrize("tenant", ["no", "null", "12", "12e3", "0x1f", "a-b", "y"])
@pytest.mark.parametrize("text", ["no", "1e5", "two: words # here", 'quoted "so"', "", "Grüße 你好", "a\nb"])
def test_names_and_texts_that_yaml_takes_for_something_else(tmp_path, tenant, text):
    values = {"init_text": text}
    params = write(tmp_path / "params.yaml", f"{HEAD}tenants: {{}}\n", tenant, values)
    assert params.tenants == {tenant: {"train": values}}
    again = write(tmp_path / "params.yaml", (tmp_path / "params.yaml").read_text(), tenant, {"prefix_length": 3})
    assert again.tenants == {tenant: {"train": {**values, "prefix_length": 3}}}


@pytest.mark.parametrize(
    "tail",
    [
        "tenants:\n  beta: &same {train: {max_steps: 3}}\n  acme: *same\n",
        "tenants:\n  beta:\n    train: &same\n      max_steps: 3\n  acme:\n    train: *same\n",
    ],
)
def test_overrides_that_hang_together_are_left_and_told(tmp_path, tail):
    path = tmp_path / "params.yaml"
    with pytest.raises(ConfigError, match="hang together") as told:
        write(path, HEAD + tail)
    assert told.value.wanted == f"to set {format_override('acme', VALUES)}"
    assert path.read_text() == HEAD + tail


def test_a_file_in_braces_is_left_and_told(tmp_path):
    with pytest.raises(ConfigError, match="one section a line"):
        write(tmp_path / "params.yaml", "{base: {path: base}, tenants: {}}\n")


def test_a_file_of_another_content_is_left(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(HEAD)
    params, digest = load_params(path), compute_file_digest(path)
    path.write_text(f"{HEAD}# a remark\n")
    with pytest.raises(WorkspaceError, match="changed while the trials ran"):
        write_override(path, digest, params, "acme", VALUES)
    assert path.read_text() == f"{HEAD}# a remark\n"


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real.yaml", tmp_path / "params.yaml"
    real.write_text(HEAD)
    link.symlink_to(real)
    write_override(link, compute_file_digest(link), load_params(link), "acme", VALUES)
    assert link.is_symlink()
    assert "acme" in real.read_text()


def test_the_project_s_own_file_changes_in_one_place(tmp_path):
    from pathlib import Path

    text = (Path(__file__).resolve().parents[4] / "params.yaml").read_text(encoding="utf-8")
    if "tenants: {}" not in text:
        pytest.skip("the project's params.yaml has overrides of its own")
    after = apply_override(text, "night-sky", {"prefix_length": 5})
    fresh = "tenants:\n  night-sky:\n    train:\n      prefix_length: 5"
    assert after == text.replace("tenants: {}", fresh)
