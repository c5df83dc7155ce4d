"""Runs in vLLM's environment: answers lists of requests with vLLM and PrefixFleet's plugin, without HTTP.

    python vllm_offline.py BASE STORE DTYPE ROWS

Reads lines of JSON, each a list of {ids, limit, sha256, tenant, length}; writes a line {seconds, ids} for each, where
the ids end before the end-of-text token. Its first line says that it is ready. Knows nothing of PrefixFleet's code.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from vllm import LLM, SamplingParams

_PLACEHOLDER = 0


def main() -> None:
    """Answer until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # vLLM prints too
    base, store, dtype, rows = sys.argv[1:]
    engine = LLM(
        model=base,
        dtype=dtype,
        max_num_seqs=int(rows),
        kv_cache_memory_bytes=1 << 30,
        enable_prefix_caching=False,  # requests repeat from round to round
        kv_transfer_config={
            "kv_connector": "PrefixFleetConnector",
            "kv_role": "kv_consumer",
            "kv_connector_extra_config": {"stores": [str(Path(store))]},
        },
    )
    end_id = engine.get_tokenizer().eos_token_id
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        requests = json.loads(line)
        started = time.perf_counter()
        outputs = engine.generate(
            [_make_prompt(one) for one in requests], [_make_params(one) for one in requests], use_tqdm=False
        )
        seconds = time.perf_counter() - started
        ids = [[token for token in one.outputs[0].token_ids if token != end_id] for one in outputs]
        print(json.dumps({"seconds": seconds, "ids": ids}), file=answers, flush=True)


def _make_prompt(request: dict[str, Any]) -> dict[str, Any]:
    ids = [_PLACEHOLDER] * request["length"] + request["ids"]
    return {"prompt_token_ids": ids, "cache_salt": request["sha256"]}


def _make_params(request: dict[str, Any]) -> SamplingParams:
    named = {key: request[key] for key in ("sha256", "tenant", "length")}
    extra = {"kv_transfer_params": {"prefixfleet": named}}
    return SamplingParams(temperature=0, max_tokens=request["limit"], detokenize=False, extra_args=extra)


if __name__ == "__main__":
    main()
