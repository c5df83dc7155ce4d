"""The pages of the documentation, and the code in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "infra", ROOT / "base")
    for path in (folder.rglob("*.md") if folder.name == "infra" else folder.glob("*.md"))
    if path.name not in ("CHANGELOG.md", "log.md")
)
BLOCK = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SHELL_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")


def name_page(page: Path) -> str:
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))


def list_lines(blocks: list[str]) -> list[str]:
    """Return the lines of blocks; a line that ends with a backslash goes on in the next."""
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
