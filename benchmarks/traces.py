"""The cost of traces in serving: the same requests with and without PREFIXFLEET_OTEL, by processor time.

    python benchmarks/traces.py [--quick | --full] [--tenants 8] [--requests 64]

One process serves all rounds, alternately without traces, with a trace for each request, and with a collector that
never answers. A ratio is the processor seconds without traces over those with them, of rounds beside each other; they
include the making of spans and the thread that sends them. The collector is another process. What the switch costs
while it is off is the difference from an earlier revision: `benchmarks/against_revision.py REVISION --parts serving`.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from contenders.serving import LoadAnswers, answer_all, make_engine_ask
from harness.options import fill_options, format_spread, make_bases, make_parser
from harness.request_load import RequestLoad, StoredArtifactSource, write_artifacts
from harness.trace_collectors import listen_silently, run_collector
from harness.training_examples import count_tokens, draw_examples
from harness.workspaces import make_tenant_ids

from components.config import BaseConfig
from components.model.base.load import load_base
from components.otel.spans import open_root
from components.serving.engine import BatchEngine, EngineLimits
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.interface import GenerationRequest

OFF, ON, DOWN = "without traces", "every request traced", "and no answer from the collector"
PRESETS = {
    "quick": {"shape": ["tiny"], "rounds": 2, "tenants": 4, "requests": 8},
    "default": {"shape": ["small"], "rounds": 5, "tenants": 8, "requests": 64},
    "full": {"shape": ["small"], "rounds": 15, "tenants": 32, "requests": 256},
}


def main() -> None:
    """Print the ratios on every base."""
    parser = make_parser(str(__doc__))
    parser.add_argument("--tenants", type=int, help="tenants, each with one request in flight")
    parser.add_argument("--requests", type=int, help="requests of a round")
    options = fill_options(parser.parse_args(), PRESETS)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with make_bases(options) as folders, run_collector() as url, listen_silently() as silent:
        for folder in folders:
            with tempfile.TemporaryDirectory() as scratch:
                _measure(folder, Path(scratch), options, {OFF: "", ON: url, DOWN: silent})


def _measure(folder: Path, scratch: Path, options: argparse.Namespace, modes: dict[str, str]) -> None:
    base = load_base(BaseConfig(path=str(folder), dtype="float32"))
    examples = draw_examples(options.data, options.requests, numbers=options.data is None)
    limits = [target for _, target in count_tokens(folder, examples)]
    artifacts = write_artifacts(scratch / "store", base, make_tenant_ids(options.tenants), options.prefix_length)
    sources = [one.source for one in examples]
    load = RequestLoad(folder, "float32", scratch / "store", artifacts, sources, limits, options.tenants)
    requests = [load.make_request(number, options.tenants) for number in range(options.requests)]
    cache = ArtifactCache(base, StoredArtifactSource(load.store), scratch / "cache")
    engine = BatchEngine(base, cache, EngineLimits(rows=options.tenants))
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    _run_round(engine, requests, options.tenants, modes[ON])
    tokens = 0
    for number in range(options.rounds):
        for mode in list(modes)[:: -1 if number % 2 else 1]:
            began_s = time.process_time()
            tokens = _run_round(engine, requests, options.tenants, modes[mode]).tokens
            seconds[mode].append(time.process_time() - began_s)
    asyncio.run(engine.drain())
    print(
        f"\n{folder.name}: {options.requests} requests of {options.tenants} tenants, {tokens:,} tokens a round, ",
        end="",
    )
    print(f"{options.rounds} rounds; load average {os.getloadavg()[0]:.1f}")
    for mode, own in seconds.items():
        ratios = [off / one for off, one in zip(seconds[OFF], own, strict=True)]
        rate = format_spread([tokens / one for one in own], ",.0f")
        print(f"{mode:33} {rate} tokens per processor second; {OFF} / it {format_spread(ratios, '.3f')}")


def _run_round(engine: BatchEngine, requests: list[GenerationRequest], in_flight: int, url: str) -> LoadAnswers:
    """Answer all requests, with a trace of each if there is the URL of a collector."""
    from components.otel import collector, exporting

    ask_engine = make_engine_ask(engine)

    async def ask_traced(request: GenerationRequest) -> AsyncIterator[tuple[str, int]]:
        with open_root("POST /v1/completions", tenant=request.artifact.tenant):
            async for piece in ask_engine(request):
                yield piece

    if not url:
        return asyncio.run(answer_all(ask_engine, requests, in_flight))
    os.environ |= {"PREFIXFLEET_OTEL": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
    exporting.get_tracer.cache_clear()
    collector.get_collector.cache_clear()
    try:
        answers = asyncio.run(answer_all(ask_traced, requests, in_flight))
        collector.get_collector().finish()
        return answers
    finally:
        del os.environ["PREFIXFLEET_OTEL"]


if __name__ == "__main__":
    main()
