"""The table of the GPU check, from files as its parts write them."""

import json
from pathlib import Path
from typing import Any

import pytest
from harness import gpu_report
from harness.results import Result, append_results, find_peer_ratio, read_results

RATES = {"device": "a chip", "torch": "2", "is_gpu": True, "float32": 5e13, "bfloat16": 1e15, "copy": 4e12}
TESTS = """<testsuites><testsuite>
<testcase name="fine"/><testcase name="wrong"><failure message="x"/></testcase>
<testcase name="left out"><skipped message="no CUDA device"/></testcase>
</testsuite></testsuites>"""


def make_result(**values: Any) -> Result:
    facts: dict[str, Any] = {"part": "training, gpt2-small", "contender": "ours", "dtype": "bfloat16"}
    facts |= {"tokens_per_s": 123_456.7, "peer_ratio": 2.5, "operations_per_s": 2.5e14, "bytes_per_s": 1e11}
    return Result(**{**facts, "peak_bytes": 3_000_000, **values})


def test_every_result_has_its_share_of_the_devices_rates(tmp_path: Path) -> None:
    (tmp_path / gpu_report.RATES).write_text(json.dumps(RATES))
    (tmp_path / gpu_report.TESTS).write_text(TESTS)
    (tmp_path / gpu_report.PARTS).write_text("tests: 3 s\nserving: skipped, no time is left\n")
    append_results(tmp_path / gpu_report.RESULTS, [make_result()])
    append_results(tmp_path / gpu_report.RESULTS, [make_result(contender="peft", dtype="float32", peer_ratio=None)])
    printed = "\n".join(gpu_report.make_table(tmp_path))
    assert "a chip, torch 2: 50.00 TFLOP/s in float32, 1,000.00 in bfloat16, copies 4,000.0 GB/s" in printed
    assert "1 passed; 1 failed; 1 skipped; failed: wrong; 1 skipped: no CUDA device" in printed
    assert "serving: skipped, no time is left" in printed
    assert "| training, gpt2-small | ours | bfloat16 | 123,457 | 2.50 | 25.0% | 2.5% | 3 |" in printed
    assert "| training, gpt2-small | peft | float32 | 123,457 |  | 500.0% | 2.5% | 3 |" in printed
    assert "CPU" not in printed


def test_without_a_gpu_and_without_results_it_says_so(tmp_path: Path) -> None:
    (tmp_path / gpu_report.RATES).write_text(json.dumps(RATES | {"is_gpu": False}))
    printed = "\n".join(gpu_report.make_table(tmp_path))
    assert "There is no GPU here" in printed
    assert "tests: not run" in printed


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    file, results = tmp_path / "results.jsonl", [make_result(), make_result(contender="peft")]
    assert read_results(file) == []
    append_results(None, results)
    append_results(file, results)
    assert read_results(file) == results


def test_the_fastest_peer_counts() -> None:
    assert find_peer_ratio([2.0, 2.0], [[9.0, 9.0], [3.0, 5.0]]) == pytest.approx(2.0)
    assert find_peer_ratio([2.0], []) is None
