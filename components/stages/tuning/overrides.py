"""Change one tenant's override in params.yaml: comments, order and every other line stay as they are.

Only the text of the section `tenants` is taken apart. What comes out is read back before it replaces the file, and must
say the same of everything and everybody else. Knows params.yaml; does not know what the values are for.
"""

import difflib
import io
import tempfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from components.config import Params, load_params
from components.data.digests import compute_file_digest
from components.errors import ConfigError, PrefixFleetError, WorkspaceError
from components.storage.atomic_files import write_atomic

_SECTION = "tenants"
_INDENTS = ((2, 2, 0), (2, 4, 2), (4, 4, 0), (4, 4, 2), (4, 6, 4))
"""Mapping, sequence, offset: how people indent lists in YAML."""


def format_override(tenant: str, values: Mapping[str, Any]) -> str:
    """The override as a person would type it, in one line."""
    inner = yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return f"{_SECTION}.{tenant}.train: {inner.strip()}"


def check_writable(path: Path) -> None:
    """Refuse a file that is kept from being written, before hours go into what should be written there.

    Raises:
        WorkspaceError: nobody may write it.
    """
    if path.is_file() and not path.stat().st_mode & 0o222:
        fix = "make it writable (`chmod u+w params.yaml`), or give --dry-run"
        raise WorkspaceError(f"to write the winner into {path}", "a file that is read-only", fix)


def write_override(path: Path, digest: str | None, params: Params, tenant: str, values: Mapping[str, Any]) -> None:
    """Lay `values` over the tenant's `train` in the file whose sha256 is `digest` and whose content is `params`.

    Raises:
        WorkspaceError: the file has changed meanwhile, is read-only, or the disk is full; it stands as it is.
        ConfigError: the text cannot be changed without changing anything else; the fix says what to set by hand.
    """
    wanted = f"to set {format_override(tenant, values)}"
    by_hand = "set it by hand, or run the same command again: finished trials are not run again"
    check_writable(path)
    if compute_file_digest(path) != digest:
        raise WorkspaceError(wanted, f"{path} changed while the trials ran", by_hand)
    try:
        text = apply_override(path.read_text(encoding="utf-8"), tenant, values)
        changed = _read_params(text)
    except (PrefixFleetError, yaml.YAMLError, _get_ruamel_error()) as problem:
        raise ConfigError(wanted, f"{path} in a form that cannot be kept: {problem}", "set it by hand") from problem
    others = {name: one for name, one in params.tenants.items() if name != tenant}
    train = params.for_tenant(tenant).train.model_copy(update=dict(values))
    expected = params.model_copy(update={_SECTION: {**others, tenant: changed.tenants.get(tenant)}})
    if changed != expected or changed.for_tenant(tenant).train != train:
        got = f"{path} whose entries hang together (anchors, or a key in another form)"
        raise ConfigError(wanted, got, "set it by hand")
    write_atomic(path.resolve(), text.encode("utf-8"))


def apply_override(text: str, tenant: str, values: Mapping[str, Any]) -> str:
    """The text of params.yaml with `values` in `tenants.<tenant>.train`.

    Raises:
        yaml.YAMLError, ruamel.yaml.error.YAMLError: no YAML, or aliases of anchors outside the section.
        ConfigError: the sections do not stand on lines of their own.
    """
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    start, end = _find_section(text, len(lines))
    section = "".join(lines[start:end]) or f"{_SECTION}: {{}}\n"
    style = min(
        product(_INDENTS, ("null", "~", "")), key=lambda one: _count_changed_lines(section, _dump(_parse(section), one))
    )
    root = _parse(section)
    _set_values(root, tenant, values)
    return "".join([*lines[:start], _dump(root, style), *lines[end:]])


def _set_values(root: Any, tenant: str, values: Mapping[str, Any]) -> None:
    from ruamel.yaml.comments import CommentedMap

    place = root
    for key in (_SECTION, tenant, "train"):
        if not place.get(key):
            fresh = CommentedMap()
            fresh.fa.set_block_style()
            place[_quote_if_needed(key)] = fresh
        place = place[key]
    for name, value in values.items():
        place[name] = _quote_if_needed(value) if isinstance(value, str) else value


def _quote_if_needed(value: str) -> str:
    """Quoted where YAML would take the plain word for something else, as `no` or `12e3`."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    plain = value.replace("-", "").replace("_", "").isalpha() and yaml.safe_load(value) == value
    return value if plain else DoubleQuotedScalarString(value)


def _find_section(text: str, count: int) -> tuple[int, int]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise ConfigError("sections on lines of their own", "a mapping in braces", "write one section a line")
    starts = [(key.value, key.start_mark.line) for key, _ in root.value]
    for place, (name, line) in enumerate(starts):
        if name == _SECTION:
            return line, starts[place + 1][1] if place + 1 < len(starts) else count
    return count, count


def _parse(section: str) -> Any:
    return _make_yaml().load(section)


def _dump(root: Any, style: tuple[tuple[int, int, int], str]) -> str:
    (mapping, sequence, offset), null = style
    writer = _make_yaml()
    writer.indent(mapping=mapping, sequence=sequence, offset=offset)
    represent = writer.representer.add_representer
    represent(type(None), lambda one, _: one.represent_scalar("tag:yaml.org,2002:null", null))
    represent(
        float, lambda one, value: one.represent_scalar("tag:yaml.org,2002:float", yaml.safe_dump(value).split()[0])
    )
    stream = io.StringIO()
    writer.dump(root, stream)
    return stream.getvalue()


def _make_yaml() -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        """A class of its own: representers are kept on the class."""

    one = YAML(typ="rt")
    one.Representer = Representer
    one.preserve_quotes = True
    one.width = 10**6
    return one


def _count_changed_lines(old: str, new: str) -> int:
    matches = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False).get_matching_blocks()
    return old.count("\n") - sum(block.size for block in matches)


def _read_params(text: str) -> Params:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"
        file.write_text(text, encoding="utf-8")
        return load_params(file)


def _get_ruamel_error() -> type[Exception]:
    from ruamel.yaml.error import YAMLError

    return YAMLError
