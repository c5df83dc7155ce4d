"""The table of `gpu_check.sh`: what the tests said, and every result with its share of what the device can do.

    python -m harness.gpu_report measure FOLDER    the device's rates, into FOLDER/rates.json
    python -m harness.gpu_report print FOLDER      the table, from all files in FOLDER

Knows files of results; does not run benchmarks or tests.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from harness.results import Result, read_results

RATES, RESULTS, TESTS, PARTS = "rates.json", "results.jsonl", "tests.xml", "parts.txt"
_CPU_MATRICES, _CPU_TOKENS = ((768, 3072), (3072, 768), (768, 50_257)), 512
_GPU_MATRICES, _GPU_TOKENS = ((8192, 8192), (4096, 16_384)), 8192


def main() -> None:
    """Run one of the two commands."""
    command, folder = sys.argv[1], Path(sys.argv[2])
    if command == "measure":
        (folder / RATES).write_text(json.dumps(_measure()))
    else:
        print("\n".join(make_table(folder)))


def make_table(folder: Path) -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    rates = json.loads((folder / RATES).read_text())
    yield f"{rates['device']}, torch {rates['torch']}: " + ", ".join(
        [
            f"{rates['float32'] / 1e12:,.2f} TFLOP/s in float32",
            f"{rates['bfloat16'] / 1e12:,.2f} in bfloat16",
            f"copies {rates['copy'] / 1e9:,.1f} GB/s",
        ]
    )
    if not rates["is_gpu"]:
        yield "There is no GPU here: the figures are of the CPU, at sizes that show that everything runs, no more."
    yield f"tests: {_describe_tests(folder / TESTS)}"
    yield from (folder / PARTS).read_text().splitlines() if (folder / PARTS).is_file() else []
    yield ""
    yield "| part | contender | products in | tokens/s | x peft | of the matrix rate | of the copy rate | peak MB |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from (_format_row(result, rates) for result in read_results(folder / RESULTS))


def _format_row(result: Result, rates: dict[str, float]) -> str:
    ratio = "" if result.peer_ratio is None else f"{result.peer_ratio:.2f}"
    cells = [
        result.part,
        result.contender,
        result.dtype,
        f"{result.tokens_per_s:,.0f}",
        ratio,
        f"{result.operations_per_s / rates[result.dtype]:.1%}",
        f"{result.bytes_per_s / rates['copy']:.1%}",
        f"{result.peak_bytes / 1e6:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _describe_tests(file: Path) -> str:
    """Return the numbers of tests by outcome, the names of those that failed, and the reasons of those skipped."""
    if not file.is_file():
        return "not run"
    failed, reasons, count = [], dict[str, int](), 0
    for case in ElementTree.parse(file).iter("testcase"):
        count += 1
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name", ""))
        if (skipped := case.find("skipped")) is not None:
            reason = skipped.get("message", "")
            reasons[reason] = reasons.get(reason, 0) + 1
    skipped_count = sum(reasons.values())
    texts = [f"{count - len(failed) - skipped_count} passed", f"{len(failed)} failed", f"{skipped_count} skipped"]
    texts += [f"failed: {', '.join(failed)}"] if failed else []
    return "; ".join([*texts, *(f"{number} skipped: {reason}" for reason, number in reasons.items())])


def _measure() -> dict[str, object]:
    import torch
    from contenders import machine_rates

    is_gpu = torch.cuda.is_available()
    shapes, tokens = (_GPU_MATRICES, _GPU_TOKENS) if is_gpu else (_CPU_MATRICES, _CPU_TOKENS)
    rates = machine_rates.measure_rates(lambda: None, shapes, tokens, 2)
    return {**rates, "device": machine_rates.describe_device(), "torch": torch.__version__, "is_gpu": is_gpu}


if __name__ == "__main__":
    main()
