"""The settings and secrets of the services."""

import pytest

from components.errors import ConfigError
from infra.services.secret_file import read_secrets
from infra.services.settings import PROJECT, read_settings


def test_the_first_read_copies_the_defaults(tmp_path):
    settings = read_settings(tmp_path / "services")
    assert settings.mlflow_port == 5000
    assert settings.workspace == tmp_path / "services" / "workspace"
    assert settings.file.read_bytes() == (PROJECT / "infra" / "services" / "settings.env").read_bytes()


def test_a_changed_value_is_read_and_a_wrong_one_is_named(tmp_path):
    file = read_settings(tmp_path).file
    defaults = file.read_text()
    file.write_text(defaults.replace("MLFLOW_PORT=5000", "MLFLOW_PORT=5001"))
    assert read_settings(tmp_path).mlflow_port == 5001
    file.write_text(defaults.replace("MLFLOW_PORT=5000", "MLFLOW_PORT=many"))
    with pytest.raises(ConfigError, match="MLFLOW_PORT: Input should be a valid integer"):
        read_settings(tmp_path)
    file.write_text(f"{defaults}\nMLFLOW_PROT=5001\n")
    with pytest.raises(ConfigError, match="MLFLOW_PROT: Extra inputs are not permitted"):
        read_settings(tmp_path)


def test_secrets_are_made_once_for_their_owner_alone_and_are_not_shown(tmp_path):
    made = read_secrets(tmp_path)
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600
    assert read_secrets(tmp_path) == made
    assert made.mlflow_password not in f"{made} {made!r}"
    other = tmp_path / "other"
    other.mkdir()
    assert read_secrets(other).mlflow_password != made.mlflow_password


def test_a_file_that_lacks_a_secret_is_refused(tmp_path):
    read_secrets(tmp_path)
    file = tmp_path / "secrets.env"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "MLFLOW" not in line))
    with pytest.raises(ConfigError, match="no MLFLOW_PASSWORD"):
        read_secrets(tmp_path)
