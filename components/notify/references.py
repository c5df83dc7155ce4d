"""Reads secrets from where params.yaml says that they are. The secrets are never in an error."""

from collections.abc import Callable, Mapping
from pathlib import Path

from components.errors import ConfigError

ReadBlock = Callable[[str], str]
"""Name of a Prefect Secret block -> its value; raises ConfigError."""


def read_reference(
    reference: str, where: str, root: Path, environment: Mapping[str, str], read_block: ReadBlock | None
) -> str:
    """Return the text behind `env:VARIABLE`, `file:PATH` or `block:NAME`, without space around it.

    `where` names the reference's place in params.yaml. A path is relative to the workspace `root`.

    Raises:
        ConfigError: there is no such variable, file or block, or it is empty.
    """
    kind, _, name = reference.partition(":")
    wanted = f"a text in {_WORDS[kind]} {name}, for {where}"
    if kind == "env":
        text = environment.get(name, "")
        fix = f"set {name} in the environment of this process"
    elif kind == "file":
        fix = "write it there, readable only for the user of this process"
        try:
            text = (root / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(wanted, "no such file", fix) from None
        except PermissionError:
            raise ConfigError(wanted, "a file that this process may not read", fix) from None
        except (OSError, UnicodeDecodeError) as problem:
            raise ConfigError(wanted, f"a file that cannot be read ({type(problem).__name__})", fix) from None
    elif read_block is None:
        raise ConfigError(wanted, "a process that does not know Prefect", "use env: or file:, or send by a flow")
    else:
        text, fix = read_block(name), "make a block of type Secret with this name in Prefect"
    if not text.strip():
        raise ConfigError(wanted, "none", fix)
    return text.strip()


_WORDS = {"env": "the environment variable", "file": "the file", "block": "Prefect's Secret block"}
