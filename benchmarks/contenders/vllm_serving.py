"""vLLM with PrefixFleet's plugin, in its own environment, as a contender of the serving benchmark.

All requests of a part are given to vLLM at once, and it computes as many rows together as PrefixFleet does. Nothing
goes through HTTP, and no text is made while the time runs: this is the rate of vLLM itself.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.alternating_runs import WaitForTurn
from harness.request_load import RequestLoad

from contenders.serving import LoadAnswers, LoadLevel

_SCRIPT = Path(__file__).with_name("vllm_offline.py")


def run_vllm(
    wait_for_turn: WaitForTurn, load: RequestLoad, parts: Sequence[LoadLevel], rounds: int, python: str, slots: int
) -> dict[str, Any]:
    """Measure vLLM; `python` is that of its environment, `slots` the length of the prefixes."""
    base = load.load_base()
    command = [python, str(_SCRIPT), str(load.folder), str(load.store), load.dtype, str(load.rows)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_vllm, from_vllm = process.stdin, process.stdout

        def read() -> dict[str, Any]:
            line = from_vllm.readline()
            if not line:
                raise SystemExit("vLLM has ended; its log is above")
            answer: dict[str, Any] = json.loads(line)
            return answer

        def answer(part: LoadLevel, count: int) -> tuple[dict[int, str], int, float]:
            requests = [load.make_request(number, part.tenants) for number in range(count)]
            sources = base.text_codec.encode_sources([one.source for one in requests])
            lines = [
                {
                    "ids": ids,
                    "limit": request.max_tokens,
                    "sha256": request.artifact.sha256,
                    "tenant": request.artifact.tenant,
                    "length": slots,
                }
                for request, ids in zip(requests, sources, strict=True)
            ]
            print(json.dumps(lines), file=to_vllm, flush=True)
            reply = read()
            texts = {number: base.text_codec.decode(ids) for number, ids in enumerate(reply["ids"])}
            return texts, sum(map(len, reply["ids"])), reply["seconds"]

        read()
        for part in parts:
            answer(part, part.in_flight)  # the prefixes are loaded before the time runs, as PrefixFleet's are
        results = []
        wait_for_turn()
        for _ in range(rounds):
            for part in parts:
                texts, tokens, seconds = answer(part, part.request_count)
                waits = [seconds] * part.request_count
                results.append(LoadAnswers(texts, tokens, seconds, waits, waits))
                wait_for_turn()
        to_vllm.close()
    return {"results": results}
