"""Hooks of mkdocs: the README is the first page, reference pages are written from the code, and links fit the site.

A link to a file of the repository that is no page of the site becomes its name. Knows mkdocs; mkdocs.yml names it.
"""

import logging
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(!?\[)([^\]]+)\]\(([^)#\s]*)(#[^)\s]*)?\)")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    sys.path.insert(0, str(ROOT))  # mkdocs loads this file by its path
    from infra.docs.reference import write_api, write_commands, write_metrics, write_settings

    logging.getLogger("torchao").setLevel(logging.ERROR)
    pages = {
        "index.md": (ROOT / "README.md").read_text(encoding="utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "adr/index.md": _list_decisions(),
        "reference/commands.md": write_commands(),
        "reference/settings.md": write_settings(),
        "reference/api.md": write_api(),
        "reference/metrics.md": write_metrics(),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - by mkdocs
    """Point links to pages of the site, and turn those to other files of the repository into names."""
    folder = posixpath.dirname(_find_source(page.file.src_uri))

    def replace(match: "re.Match[str]") -> str:
        start, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        uri = _find_page(path)
        if files.get_file_from_path(uri) is not None:
            return f"{start}{text}]({posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # mkdocs reports it
        return text if text.startswith("`") or path in text else f"{text} (`{path}`)"

    return _LINK.sub(replace, markdown)


def _find_source(uri: str) -> str:
    """Return the path, in the repository, of a page's text."""
    top = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
    return top.get(uri, f"docs/{uri}")


def _find_page(path: str) -> str:
    """Return the page of the site that a path of the repository is, if there is one."""
    top = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
    known = {**top, "docs/adr": "adr/index.md"}
    return known.get(path, path.removeprefix("docs/"))


def _list_decisions() -> str:
    lines = ["# Decisions", "", "Why PrefixFleet is built as it is, one decision a page.", ""]
    for path in sorted((ROOT / "docs" / "adr").glob("*.md")):
        found: Any = _TITLE.search(path.read_text(encoding="utf-8"))
        lines.append(f"- [{found[1]}]({path.name})")
    return "\n".join(lines) + "\n"
