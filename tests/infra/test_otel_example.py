"""The example of a collector agrees with the stack that it is added to, and with the switch."""

import re
from pathlib import Path

import pytest
import yaml

from components.otel.switch import SWITCH_VARIABLE, check_otel, is_on

INFRA = Path(__file__).resolve().parents[2] / "infra"
PINNED = re.compile(r"[a-z0-9./-]+:[0-9a-z.-]+@sha256:[0-9a-f]{64}")
STACK = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))["services"]
ADDED = yaml.safe_load((INFRA / "otel" / "compose.yaml").read_text(encoding="utf-8"))["services"]
CONFIG = yaml.safe_load((INFRA / "otel" / "collector.yaml").read_text(encoding="utf-8"))


def test_the_collector_is_pinned_confined_and_reads_the_file_beside_it():
    collector = ADDED["collector"]
    assert PINNED.fullmatch(collector["image"])
    assert collector["read_only"]
    assert all(port.startswith("127.0.0.1:") for port in collector["ports"])
    (volume,) = collector["volumes"]
    source, target, mode = volume.split(":")
    assert (INFRA / source).samefile(INFRA / "otel" / "collector.yaml")
    assert (target, mode) == (collector["command"][1], "ro")


@pytest.mark.parametrize("name", sorted(ADDED.keys() - {"collector"}))
def test_what_sends_to_it_is_a_service_of_the_stack_with_the_switch_on(name, monkeypatch):
    assert name in STACK
    environment = ADDED[name]["environment"]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    check_otel()
    assert is_on()
    assert SWITCH_VARIABLE in environment
    port = CONFIG["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://collector:{port}"


def test_each_pipeline_names_parts_that_are_configured_and_memory_is_limited_first():
    for name, pipeline in CONFIG["service"]["pipelines"].items():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= CONFIG[kind].keys(), name
        assert pipeline["processors"][0] == "memory_limiter"
    megabytes = CONFIG["processors"]["memory_limiter"]["limit_mib"]
    assert megabytes < int(ADDED["collector"]["mem_limit"].removesuffix("m"))
    assert CONFIG["service"]["pipelines"].keys() == {"traces", "metrics"}
