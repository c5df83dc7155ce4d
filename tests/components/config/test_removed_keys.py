"""A params.yaml of an earlier release loads, and each key that is no longer a setting is named in a warning."""

import logging
from pathlib import Path

import pytest

from components.config import EngineConfig, load_params
from components.config.removed_keys import REMOVED_KEYS, drop_removed_keys
from components.errors import ConfigError


def write(folder: Path, engine: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(f"base: {{path: base}}\nengine: {engine}\n")
    return path


@pytest.mark.parametrize("key", sorted(REMOVED_KEYS["engine"]))
@pytest.mark.parametrize("value", ["true", "false", "null", "[1]"])
def test_a_removed_key_is_ignored_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str, value: str
) -> None:
    path = write(tmp_path, f"{{{key}: {value}, decode_rows: 7}}")
    assert load_params(path).engine == EngineConfig(decode_rows=7)
    record = ("prefixfleet", logging.WARNING, f"{path}: engine.{key} is no longer a setting and is ignored; remove it")
    assert caplog.record_tuples == [record]


def test_a_file_without_removed_keys_is_read_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_params(write(tmp_path, "{decode_rows: 7}")).engine.decode_rows == 7
    assert not caplog.records


def test_other_unknown_keys_of_the_section_are_still_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'pakcing'"):
        load_params(write(tmp_path, "{pakcing: true}"))
    with pytest.raises(ConfigError, match=r"engine = 5"):
        load_params(write(tmp_path, "5"))


def test_removed_keys_are_not_fields_of_their_section() -> None:
    assert not REMOVED_KEYS["engine"] & EngineConfig.model_fields.keys()


def test_the_values_passed_in_stay_as_they_are() -> None:
    values = {"engine": {"packing": False, "decode_rows": 7}, "train": {"packing": 1}}
    assert drop_removed_keys(values, "x") == {"engine": {"decode_rows": 7}, "train": {"packing": 1}}
    assert values["engine"] == {"packing": False, "decode_rows": 7}
