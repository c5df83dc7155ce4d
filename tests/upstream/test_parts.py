"""Every non-public part of other libraries is still where the code expects it, and every use of one is listed."""

import ast
from importlib.metadata import version
from pathlib import Path

import pytest
from upstream_parts import PARTS, Part

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("components", "flows", "cli") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.library}: {part.name}")
def test_a_part_is_where_the_code_expects_it(part: Part) -> None:
    try:
        is_there = part.check()
    except (ImportError, AttributeError, OSError, TypeError, ValueError) as problem:
        pytest.fail(_explain(part, str(problem)))
    if not is_there:
        pytest.fail(_explain(part, "it has changed"))


def test_every_part_is_used_where_the_list_says() -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    for part in PARTS:
        assert (ROOT / part.used_by).is_file(), part
        for name in part.private_names:
            assert any(name in text for text in texts), f"{name} is no longer used"


def test_every_use_of_a_private_name_of_another_library_is_listed() -> None:
    listed = {name for part in PARTS for name in part.private_names} | {
        "_exit",
        "_asdict",
    }  # documented, of os and of named tuples
    trees = {path: list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))) for path in SOURCES}
    own = {name for nodes in trees.values() for name in _defined_names(nodes)}
    used = {
        (name, f"{path.relative_to(ROOT)}:{line}")
        for path, nodes in trees.items()
        for name, line in _private_names(nodes)
        if name not in own and name not in listed
    }
    assert not used, f"add these to tests/helpers/upstream_parts/: {sorted(used)}"


def _explain(part: Part, problem: str) -> str:
    return (
        f"{part.library} {version(part.library)}: {part.name}: {problem}. "
        f"{part.used_by} uses it: {part.purpose}. Adapt that module, then this check"
    )


def _defined_names(nodes: list[ast.AST]) -> set[str]:
    """Names that our own code defines: functions, classes, attributes and variables."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            names.add(node.attr)
    return names


def _private_names(nodes: list[ast.AST]) -> set[tuple[str, int]]:
    """Underscored attributes of anything but `self`, and underscored imports, with their lines."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and not _is_self(node.value):
            found.add((node.attr, node.lineno))
        elif isinstance(node, ast.ImportFrom):
            found |= {(alias.name, node.lineno) for alias in node.names if _is_private(alias.name)}
    return found


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")
