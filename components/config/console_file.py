"""A file with the sections `console` and `oidc`, for a console whose folder has no params.yaml."""

from pathlib import Path

from pydantic import ValidationError

from components.config.console import ConsoleConfig
from components.config.oidc import OidcConfig
from components.config.problems import to_config_error
from components.config.section import Section
from components.config.yaml_file import read_sections


class ConsoleSettings(Section):
    """What a console needs to know; both sections are as in params.yaml."""

    console: ConsoleConfig = ConsoleConfig()
    oidc: OidcConfig | None = None


def read_console_settings(path: Path) -> ConsoleSettings:
    """Read and check the file.

    Raises:
        ConfigError: the file is missing or is not YAML, or has an unknown key or a value of the wrong type.
    """
    fixes = {"missing_fix": "correct --settings", "content_fix": "write the sections console and oidc"}
    try:
        return ConsoleSettings.model_validate(read_sections(path, **fixes))
    except ValidationError as problems:
        raise to_config_error(problems, ConsoleSettings, str(path)) from None
