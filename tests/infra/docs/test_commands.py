"""Every command of the product that the documentation shows exists, with the options that it shows."""

import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from doc_pages import BLOCK, INLINE, PAGES, list_lines, name_page
from typer.main import get_command

from cli.main import app

_COMMAND = re.compile(r"\bprefixfleet (?:-C \S+ )?[a-z].*")


def find_commands(text: str) -> list[str]:
    """Return the commands of a page, in blocks and between backquotes."""
    spans = list_lines(BLOCK.findall(text))
    spans += [" ".join(span.split()) for span in INLINE.findall(BLOCK.sub("", text))]
    spans = [span for span in spans if re.match(r"(?:[A-Z_]+=\S+ |\$ |torchrun .*-m )*prefixfleet ", span)]
    return [found[0] for span in spans if (found := _COMMAND.search(span))]


def split_words(command: str) -> list[str]:
    """Return the words of a line of the shell up to its first operator or comment."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(takewhile(lambda word: word[0] not in ";&|<>", lexer))


def check_command(command: str) -> str:
    """Return what of a command does not exist; "" if all does."""
    words = split_words(command)[1:]
    words = words[2:] if words[0] == "-C" else words
    node: Any = get_command(app)
    while hasattr(node, "commands") and words:
        if words[0] not in node.commands:
            return f"no command {words[0]!r} in: {command}"
        node = node.commands[words.pop(0)]
    known = {name for option in node.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    return f"no option {unknown[0]} in: {command}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_command_of_a_page_exists(page: Path) -> None:
    wrong = [
        problem for command in find_commands(page.read_text(encoding="utf-8")) if (problem := check_command(command))
    ]
    assert wrong == []


def test_commands_are_found_in_blocks_and_between_backquotes_and_wrong_ones_are_named() -> None:
    block = "```sh\nprefixfleet serve --prot 1 \\\n  --host a  # on a\n```\n"
    text = f"`prefixfleet no` and `prefixfleet status\n--json`\n{block}"
    commands = [" ".join(split_words(command)) for command in find_commands(text)]
    assert commands == ["prefixfleet serve --prot 1 --host a", "prefixfleet no", "prefixfleet status --json"]
    assert [check_command(command).split(" in:")[0] for command in commands] == [
        "no option --prot",
        "no command 'no'",
        "",
    ]
