"""The package is installed where PrefixFleet is not, so it imports nothing of it, and vLLM only where that is meant."""

import ast
import sys
from pathlib import Path

import prefixfleet_vllm

FOLDER = Path(prefixfleet_vllm.__file__).parent
ALLOWED = {"fsspec", "prefixfleet_vllm", "pydantic", "safetensors", "torch"}
WITH_VLLM = {"__init__.py", "connector.py", "lora_adapters.py", "metrics.py"}


def list_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_package_imports_nothing_of_prefixfleet() -> None:
    for path in FOLDER.glob("*.py"):
        allowed = ALLOWED | ({"vllm"} if path.name in WITH_VLLM else set())
        assert list_imports(path) - set(sys.stdlib_module_names) <= allowed, path.name
