"""What commands print: data keep their characters, in any encoding, and can neither format nor control the terminal."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import make_printable, print_columns, print_json, print_line, print_table, print_text

PROJECT = Path(__file__).resolve().parents[2]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
EMOJI_CODES = "train.jsonl:100: ':x:' [red]a[/red]"


def run_main(*arguments, stdin=None, **environment):
    command = [sys.executable, "-m", "cli.main", *map(str, arguments)]
    kept = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
    return subprocess.run(command, input=stdin, capture_output=True, env=kept, check=False, timeout=120)


def test_a_table_prints_its_cells_without_reading_them_as_markup_or_emoji_codes(capsys):
    print_table(EMOJI_CODES, (EMOJI_CODES, "text"), [("alder", EMOJI_CODES), ("birch", "two\nlines")])
    printed = capsys.readouterr().out
    assert printed.count(EMOJI_CODES) == 3
    assert any("birch" in line and r"two\nlines" in line for line in printed.splitlines())


def test_a_table_on_a_narrow_terminal_wraps_and_loses_nothing(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    print_table("Title", ("tenant", "why"), [("a-tenant-with-a-long-name", "0123456789" * 12)])
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 50
    assert sum(line.count("0") for line in lines) == 12


def test_columns_are_one_line_a_row_whatever_their_length(capsys):
    print_columns(("tenant", "why"), [("alder", "long " * 100 + "\x1b[31m"), ("a-longer-name", "two\nlines")])
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.split() == ["tenant", "why"]
    assert first.endswith("long \\x1b[31m")
    assert second == "a-longer-name  two\\nlines"


@given(st.text())
def test_text_that_is_made_visible_has_no_control_character_and_keeps_all_printable_ones(text):
    visible = make_printable(text, sys.__stdout__)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", visible)
    if text.isprintable():
        assert visible == text


def test_an_escape_sequence_in_data_is_printed_as_text(capsys):
    print_line("\x1b[2J\x9b31m done")
    assert capsys.readouterr().out == "\\x1b[2J\\x9b31m done\n"


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_one_line_and_reads_back_equal(value):
    import contextlib
    import io

    for encoding in ("utf-8", "ascii"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        with contextlib.redirect_stdout(stream):
            print_json(value)
        printed = stream.buffer.getvalue().decode(encoding)
        assert json.loads(printed) == value
        assert printed.count("\n") == 1


def test_generated_text_is_written_byte_for_byte_unless_to_a_terminal(capfdbinary, monkeypatch):
    print_text("a \x1b[31mred\x1b[0m ✓ :x: ")
    assert capfdbinary.readouterr().out == "a \x1b[31mred\x1b[0m ✓ :x: \n".encode()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_text("\x1b[31m")
    assert capfdbinary.readouterr().out == b"\\x1b[31m\n"


def test_a_command_prints_any_data_in_an_ascii_locale(make_root):
    root = make_root(())
    (root / "drops" / "alder").mkdir(parents=True)
    good = '{"source": "a", "references": ["b"]}\n'
    (root / "drops/alder/train.jsonl").write_text(good * 99 + '{":é\\u001b[31m:": 1}\n')
    for environment, key in (({}, "é"), (ASCII, "\\xe9")):
        done = run_main("-C", root, "data", "check", **environment)
        assert done.returncode == 1, done.stderr.decode()
        printed = done.stdout.decode("utf-8")
        assert "train.jsonl:100: " in printed
        assert f":{key}" in printed
        assert "\x1b" not in printed


def test_an_unknown_name_is_refused_in_an_ascii_locale(make_root):
    done = run_main("-C", make_root(("alder",)), "status", "--tenant", "café:x:", **ASCII)
    assert done.returncode == 2
    assert b"wanted: a tenant id" in done.stderr
    assert b":x:" in done.stderr
    assert b"Traceback" not in done.stderr


def test_stdin_that_is_not_utf8_is_refused_by_its_byte(make_root):
    done = run_main("-C", make_root(("alder",)), "generate", "alder", "-", stdin=b"caf\xe9\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"byte 0xe9" in done.stderr


def test_a_reader_that_closes_the_pipe_ends_a_command_quietly(make_root):
    root = make_root(("alder", "birch"))
    script = "import sys; sys.argv[0] = 'prefixfleet'; from cli.main import main; main()"
    command = [sys.executable, "-c", script, "-C", str(root), "status", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        command, stdout=writer, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(PROJECT)}
    ) as process:
        os.close(writer)
        stderr = process.communicate(timeout=120)[1]
    assert (process.returncode, stderr) == (141, b"")


@pytest.mark.parametrize("path", sorted((PROJECT / "cli").glob("*.py")), ids=lambda path: path.name)
def test_no_command_writes_to_the_streams_itself(path):
    if path.name != "output.py":
        found = re.findall(
            r"(?<![\w.])print\(|typer\.echo|typer\.secho|\bConsole\(|stdout\.write|stderr\.write", path.read_text()
        )
        assert found == []
