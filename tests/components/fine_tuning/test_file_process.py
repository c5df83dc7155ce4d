"""A long file is checked in a process with limits; what is found and refused is the same as for a short one."""

import json

import pytest

from components.config import DataConfig
from components.errors import DataError, WorkspaceError
from components.fine_tuning import file_process
from components.fine_tuning.file_process import FileFacts, check_file

LIMITS = DataConfig()
CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "upload.tmp"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def prompts(count, each=1):
    return [{"prompt": f"thing {number // each}", "completion": "ü" * 20} for number in range(count)]


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(file_process, "_SMALL_BYTES", 0)


@pytest.fixture(params=["process", "here"])
def either_place(request):
    if request.param == "process":
        request.getfixturevalue("in_process")


@pytest.mark.usefixtures("either_place")
def test_examples_and_different_inputs_are_counted(write):
    assert check_file(write(*prompts(40, each=4)), "a.jsonl", LIMITS) == FileFacts(40, 10, has_conversations=False)


@pytest.mark.usefixtures("either_place")
def test_one_conversation_is_enough_to_need_a_template(write):
    assert check_file(write(*prompts(2), CHAT), "a.jsonl", LIMITS) == FileFacts(3, 3, has_conversations=True)


@pytest.mark.usefixtures("either_place")
def test_the_first_wrong_line_is_named_with_the_files_name(write):
    with pytest.raises(DataError, match=r"a\.jsonl, line 3: no text 'completion'"):
        check_file(write(*prompts(2), {"prompt": "x"}, 7), "a.jsonl", LIMITS)


@pytest.mark.usefixtures("either_place")
def test_the_limits_of_the_parameters_hold(write):
    with pytest.raises(DataError, match="19"):
        check_file(write(*prompts(1)), "a.jsonl", DataConfig(max_reference_chars=19))


@pytest.mark.usefixtures("either_place")
def test_a_file_that_is_gone_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(WorkspaceError, match="No such file"):
        check_file(tmp_path / "missing", "a.jsonl", LIMITS)


@pytest.mark.usefixtures("in_process")
def test_a_check_that_takes_too_long_is_ended(tmp_path):
    path = tmp_path / "upload.tmp"
    path.write_bytes(b'{"prompt": "a", "completion": "b"}\n' * 400_000)
    with pytest.raises(DataError, match="within 1 s of processor time"):
        check_file(path, "a.jsonl", LIMITS, max_seconds=1)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("exit 1", "exit code 1"),
        ("kill -9 $$", "exit code -9"),
        ("exit 0", "exit code 0"),
        ("sleep 60", "too little processor time in 0 s"),
        (None, "No such file"),
    ],
)
def test_a_process_without_a_result_is_no_fault_of_the_file(write, tmp_path, monkeypatch, program, words):
    python = tmp_path / "python"
    if program is not None:
        python.write_text(f"#!/bin/sh\n{program}\n")
        python.chmod(0o755)
    monkeypatch.setattr(file_process.sys, "executable", str(python))
    if program == "sleep 60":
        monkeypatch.setattr(file_process, "_MAX_WAIT_S", 0.1)
    with pytest.raises(WorkspaceError, match=words):
        check_file(write(*prompts(1)), "a.jsonl", LIMITS)


@pytest.mark.usefixtures("in_process")
def test_a_file_that_takes_too_much_memory_is_refused(write, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {file_process._MEMORY_EXIT_CODE}\n")
    python.chmod(0o755)
    monkeypatch.setattr(file_process.sys, "executable", str(python))
    with pytest.raises(DataError, match="the memory for its size"):
        check_file(write(*prompts(1)), "a.jsonl", LIMITS)
