"""Reads a YAML file of sections as a mapping and refuses duplicate keys. Does not know the sections."""

from pathlib import Path
from typing import Any

import yaml

from components.errors import ConfigError


def read_sections(
    path: Path,
    *,
    missing_fix: str = "run from the workspace's top folder, or name it with -C",
    content_fix: str = "restore the file from git",
) -> dict[str, Any]:
    """Return the file's top-level mapping.

    `missing_fix` and `content_fix` are the fixes that the error names for a missing file and for one without a mapping.

    Raises:
        ConfigError: the file is missing, unreadable, not YAML in UTF-8, not a mapping, or has a duplicate key.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a safe loader
    except FileNotFoundError:
        raise ConfigError(f"a file {path.name}", f"no file {path}", missing_fix) from None
    except OSError as problem:
        raise ConfigError(
            f"a readable {path.name}", f"{path}: {problem.strerror}", "correct the file's type or permissions"
        ) from None
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise ConfigError("valid YAML", f"{path}:{line}: {problem.problem}", "correct this line") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ConfigError(
            "valid YAML in UTF-8", f"{path}: {' '.join(str(problem).split())}", "correct the file"
        ) from None
    if not isinstance(values, dict):
        got = f"{path}: {'an empty file' if values is None else f'a {type(values).__name__}'}"
        raise ConfigError("sections with keys and values", got, content_fix)
    return values


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys; plain YAML silently keeps only the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                seen.add(key.value)
        return super().construct_mapping(node, deep)
