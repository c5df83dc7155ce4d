"""A vLLM server that is started, started again, given up and stopped; its program here is a short script."""

import json
import sys
from pathlib import Path

import pytest
from waiting import wait_until

from components.config.serve import VllmConfig
from components.errors import WorkspaceError
from components.serving.remote import vllm_process
from components.serving.remote.vllm_process import VllmProcess, make_command


def test_the_command_names_the_base_the_plugin_and_its_store() -> None:
    config = VllmConfig(options=["--dtype=float32"], resident_mb=64)
    command = make_command(config, Path("/env/python"), Path("/bases/llama"), 8001, "file:///w/var/prefixes")
    assert command[:3] == ["/env/python", "-m", "vllm.entrypoints.openai.api_server"]
    assert command[command.index("--model") + 1] == "/bases/llama"
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[-1] == "--dtype=float32"
    transfer = json.loads(command[command.index("--kv-transfer-config") + 1])
    assert transfer["kv_connector"] == "PrefixFleetConnector"
    assert transfer["kv_connector_extra_config"] == {"stores": ["file:///w/var/prefixes"], "resident_mb": 64}


def test_lora_is_enabled_by_its_largest_rank() -> None:
    without = make_command(VllmConfig(), Path("p"), Path("m"), 1, "file:///s")
    assert not [option for option in without if "lora" in option]
    config = VllmConfig(max_lora_rank=16, max_loras=4, max_cpu_loras=9, options=["--max-lora-rank=32"])
    command = make_command(config, Path("p"), Path("m"), 1, "file:///s")
    own = ["--enable-lora", "--max-lora-rank=16", "--max-loras=4", "--max-cpu-loras=9"]
    assert command[-5:] == [*own, "--max-lora-rank=32"]


def _script(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "program.py").write_text(text, encoding="utf-8")
    return [sys.executable, "-S", str(tmp_path / "program.py"), str(tmp_path)]


def test_a_process_that_ends_is_started_again_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_process, "_FIRST_DELAY_S", 0.01)
    command = _script(
        tmp_path,
        "import pathlib, sys, time\n"
        "count = pathlib.Path(sys.argv[1], 'starts'); n = len(count.read_text()) if count.exists() else 0\n"
        "count.write_text('x' * (n + 1))\n"
        "if n >= 2: time.sleep(600)\n"
        "print('no memory'); sys.exit(3)\n",
    )
    process = VllmProcess(command, tmp_path / "log" / "vllm.log")
    process.start()
    wait_until(lambda: (tmp_path / "starts").exists() and (tmp_path / "starts").read_text() == "xxx", "the third start")
    process.check_running()
    process.stop()
    assert (tmp_path / "log" / "vllm.log").read_text() == "no memory\nno memory\n"


_TRACEBACKS = """
WARNING This can cause errors like `OSError: [Errno 24] Too many open files`
(Worker pid=7) ERROR [executor.py:953] Traceback (most recent call last):
(Worker pid=7) ERROR [executor.py:953]   File "worker.py", line 83, in __init__
(Worker pid=7) ERROR [executor.py:953]     raise ValueError(
(Worker pid=7) ERROR [executor.py:953] ValueError: Available memory is less than wanted
(EngineCore pid=6) ERROR [core.py:1510] Traceback (most recent call last):
(EngineCore pid=6) ERROR [core.py:1510] Exception: WorkerProc initialization failed
"""


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        (_TRACEBACKS, "ValueError: Available memory is less than wanted"),
        ("api_server.py: error: unrecognized arguments: --tensor", "error: unrecognized arguments: --tensor"),
        ("1\n2\n3\n4\n5\n6", "2 | 3 | 4 | 5 | 6"),
        ("", "it has written nothing"),
    ],
)
def test_a_process_that_never_runs_is_given_up_with_the_cause_and_its_log_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, written: str, cause: str
) -> None:
    monkeypatch.setattr(vllm_process, "_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(vllm_process, "_LONGEST_DELAY_S", 0.01)
    log_file = tmp_path / "vllm.log"
    log_file.write_text("Traceback (most recent call last)\nKeyError: of an earlier start\n")
    process = VllmProcess(_script(tmp_path, f"print({written!r}); raise SystemExit(4)"), log_file)
    process.start()
    wait_until(lambda: process.end_reason, "the end of the tries")
    with pytest.raises(WorkspaceError, match=r"5 starts that ended soon, the last with code 4.*vllm\.log") as raised:
        process.check_running()
    assert f": {cause} (" in str(raised.value)
    assert caplog.records[0].getMessage() == f"vLLM has ended with code 4: {cause}"
    process.stop()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    process = VllmProcess([str(tmp_path / "python"), "-m", "vllm"], tmp_path / "vllm.log")
    with pytest.raises(WorkspaceError, match=r"serve\.vllm\.python"):
        process.start()
    process.stop()


@pytest.mark.parametrize("is_killed", [True, False])
def test_what_an_ended_server_leaves_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    monkeypatch.setattr(vllm_process, "_FIRST_DELAY_S", 600.0)
    command = _script(
        tmp_path,
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(sys.argv[1], 'new').write_text(str(child.pid))\n"
        "pathlib.Path(sys.argv[1], 'new').rename(pathlib.Path(sys.argv[1], 'child'))\n"
        "time.sleep(600)\n",
    )
    process = VllmProcess(command, tmp_path / "vllm.log")
    process.start()
    child = wait_until(lambda: (tmp_path / "child").exists() and int((tmp_path / "child").read_text()), "the child")
    if is_killed:
        assert process._process is not None
        process._process.kill()
    else:
        process.stop()
    wait_until(lambda: not _is_alive(child), "the child's end")
    process.stop()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
