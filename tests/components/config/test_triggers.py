"""The sections `triggers` and `next_base`."""

import pytest

from components.config import load_params
from components.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    def load(text):
        (tmp_path / "params.yaml").write_text(f"base: {{path: base}}\n{text}")
        return load_params(tmp_path / "params.yaml")

    return load


def test_without_the_sections_nothing_is_watched_and_nobody_moves(load):
    params = load("")
    assert (params.triggers.arrival, params.triggers.drift, params.next_base) == (None, None, None)


def test_an_empty_section_watches_the_drops_folder(load):
    params = load("triggers: {arrival: {}, drift: {action: retrain}}")
    assert (params.triggers.arrival.source, params.triggers.arrival.quiet_seconds) == (None, 30.0)
    assert (params.triggers.drift.threshold, params.triggers.drift.window_hours) == (0.2, 24)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("triggers: {arrivals: {}}", "arrival"),
        ("triggers: {arrival: {quiet_seconds: -1.0}}", "quiet_seconds"),
        ("triggers: {drift: {threshold: 2.0}}", "threshold"),
        ("triggers: {drift: {action: page}}", "event"),
        ("next_base: {revision: main}", "path"),
        ("next_base: {path: next, tenants_per_wave: 0}", "tenants_per_wave"),
    ],
)
def test_wrong_values_are_named(load, text, words):
    with pytest.raises(ConfigError, match=words):
        load(text)
