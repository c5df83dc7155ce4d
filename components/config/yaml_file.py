"""Reads and writes YAML by the rules of version 1.2; a file of sections as a mapping. Does not know the sections.

DVC reads params.yaml by YAML 1.2. PyYAML knows 1.1, in which 010 is 8, 1:30 is 90 and `no` is false: a value that the
two read differently is refused, with its line. So is what only one of them reads, such as `{url: s3://bucket}`, and a
duplicate key.
"""

import re
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from components.errors import ConfigError

_MAX_NODES = 100_000
"""Values with every alias expanded; a few lines of aliases of aliases would stand for billions."""
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"


def read_sections(
    path: Path,
    *,
    missing_fix: str = "run from the workspace's top folder, or name it with -C",
    content_fix: str = "restore the file from git",
) -> dict[str, Any]:
    """Return the file's top-level mapping.

    `missing_fix` and `content_fix` are the fixes that the error names for a missing file and for one without a mapping.

    Raises:
        ConfigError: the file is missing, unreadable, not YAML in UTF-8, not a mapping, has a duplicate key, or a value
            that YAML 1.1 and 1.2 read differently.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"a file {path.name}", f"no file {path}", missing_fix) from None
    except OSError as problem:
        raise ConfigError(
            f"a readable {path.name}", f"{path}: {problem.strerror}", "correct the file's type or permissions"
        ) from None
    except UnicodeDecodeError as problem:
        raise ConfigError("valid YAML in UTF-8", f"{path}: {problem}", "correct the file") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        got = f"{path}: {'an empty file' if values is None else f'a {type(values).__name__}'}"
        raise ConfigError("sections with keys and values", got, content_fix)
    return values


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text; `where` is its origin in error messages.

    Raises:
        ConfigError: it is not YAML, has a duplicate key, or a value that YAML 1.1 and 1.2 read differently.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        wanted, fix = "valid YAML", "correct this line"
        if isinstance(problem, _AmbiguousError):
            wanted, fix = "a value with one meaning in YAML", problem.fix
        raise ConfigError(wanted, f"{where}:{line}: {problem.problem}", fix) from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as problem:
        cause = "nested too deeply" if isinstance(problem, RecursionError) else " ".join(str(problem).split())
        raise ConfigError("valid YAML", f"{where}: {cause}", "correct the file") from None


def format_yaml(values: Any, **options: Any) -> str:
    """Return plain values as YAML; texts that YAML 1.1 or 1.2 would read as another type are quoted.

    `options` are those of `yaml.dump`.
    """
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options)
    return text


class _AmbiguousError(yaml.constructor.ConstructorError):
    """A plain value that YAML 1.1 and 1.2 read differently; `fix` says how to write it."""

    def __init__(self, problem: str, fix: str, mark: yaml.Mark) -> None:
        super().__init__(None, None, problem, mark)
        self.fix = fix


class _Loader(yaml.SafeLoader):
    """Safe YAML with the types of YAML 1.2's core schema; merge keys (`<<`) are kept, as in 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute; filled below

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._braces = 0
        """Braces and brackets around the node that is composed."""

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _require_bounded(node)
        return self.construct_document(node)

    def compose_sequence_node(self, anchor: Any) -> yaml.SequenceNode:
        with self._enter_collection():
            return super().compose_sequence_node(anchor)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        with self._enter_collection():
            return super().compose_mapping_node(anchor)

    @contextmanager
    def _enter_collection(self) -> Iterator[None]:
        step = int(bool(self.peek_event().flow_style))  # type: ignore[no-untyped-call]
        self._braces += step
        yield
        self._braces -= step

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if event.tag == "!":
            _refuse_tag(node, "!")
        elif event.style is None and event.implicit[0]:
            _require_one_meaning(node)
            if self._braces:
                _require_flow_of_dvc(node)
        elif node.tag != f"{_TAG}str":
            _refuse_tag(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            if key.value != "<<":
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number; `0o17` and `0x1f` have the bases that they name."""
        return _parse_int(self.construct_scalar(node))


_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(rf"^(?:{_BOOL.pattern})$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(rf"^(?:{_INT.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(rf"^(?:{_FLOAT.pattern})$"), list("-+.0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(rf"^(?:{_NULL.pattern})$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"^<<$"), ["<"])
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_core_int)


class _Dumper(yaml.SafeDumper):
    """Writes safe YAML. PyYAML quotes what 1.1 reads as another type; the resolvers below add numbers of 1.2."""


for _tag, _pattern in (("int", _INT), ("float", _FLOAT)):
    _Dumper.add_implicit_resolver(f"{_TAG}{_tag}", re.compile(rf"^(?:{_pattern.pattern})$"), list("-+.0123456789"))


def _require_one_meaning(node: yaml.ScalarNode) -> None:
    """Raise if YAML 1.1 reads a plain value differently. Numbers such as 1e-3, text in 1.1, are read as in 1.2."""
    text = node.value
    older = yaml.SafeLoader.yaml_implicit_resolvers
    tag = next((tag for tag, pattern in older.get(text[:1], []) + older.get(None, []) if pattern.match(text)), None)
    old, new = (one.removeprefix(_TAG) for one in (tag or f"{_TAG}str", node.tag))
    if old == new and (old != "int" or _parse_old_int(text) == _parse_int(text)):
        return
    if (old, new) == ("str", "float"):
        return
    quoted = f'"{text}" for text'
    meaning = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}.get(old, "text")
    match old, new:
        case "bool", _:
            fix = f"write {str(text.lower() in ('yes', 'on')).lower()}, or {quoted}"
        case "int", _:
            fix = f"write {_parse_old_int(text)}{f' or {_parse_int(text)}' if new == 'int' else ''}, or {quoted}"
        case "timestamp" | "value", _:
            fix = f"write {quoted}"
        case _, "int":
            fix = f"write {_parse_int(text)}, or {quoted}"
        case _:
            fix = f"write {quoted}, or a number without : and _"
    raise _AmbiguousError(f"{text}, which some programs read as {meaning} and others not", fix, node.start_mark)


def _parse_int(text: str) -> int:
    prefix = text[:2]
    return int(text, 8 if prefix == "0o" else 16 if prefix == "0x" else 10)


def _parse_old_int(text: str) -> int:
    loader = yaml.SafeLoader("")
    return int(loader.construct_yaml_int(yaml.ScalarNode(f"{_TAG}int", text)))


def _require_flow_of_dvc(node: yaml.ScalarNode) -> None:
    """Raise for a plain value in braces or brackets whose colon DVC's reader does not take: `[s3://bucket]`, `{a:}`."""
    if ":" in node.value:
        problem = f"{node.value} in braces or brackets without quotes, which DVC does not read"
        raise _AmbiguousError(problem, f'write "{node.value}"', node.start_mark)
    text, place = str(node.start_mark.buffer), node.start_mark.pointer
    before, after = text[place - 1], text[place]
    if not node.value and (before == "?" or (before == ":" and not after.isspace())):
        problem = "a key without a value in braces or brackets, which DVC does not read"
        raise _AmbiguousError(problem, "write null, or remove the key", node.start_mark)


def _refuse_tag(node: yaml.Node, tag: str = "") -> None:
    got = f"the tag {tag or node.tag.replace(_TAG, '!!')}, which is not supported: write the value without it"
    raise yaml.constructor.ConstructorError(None, None, got, node.start_mark)


def _require_bounded(node: yaml.Node) -> None:
    """Raise for a value that contains itself, or that is too large with its aliases expanded."""
    sizes: dict[int, int] = {}

    def measure(one: yaml.Node) -> int:
        if id(one) in sizes:
            if not sizes[id(one)]:
                raise yaml.constructor.ConstructorError(None, None, "a value that contains itself", one.start_mark)
            return sizes[id(one)]
        sizes[id(one)] = 0
        if isinstance(one, yaml.CollectionNode) and one.tag not in (f"{_TAG}seq", f"{_TAG}map"):
            _refuse_tag(one)
        inner = one.value if isinstance(one, yaml.CollectionNode) else []
        total = 1 + sum(measure(part) for item in inner for part in (item if isinstance(item, tuple) else (item,)))
        if total > _MAX_NODES:
            raise yaml.constructor.ConstructorError(None, None, "aliases that expand too far", one.start_mark)
        sizes[id(one)] = total
        return total

    measure(node)
