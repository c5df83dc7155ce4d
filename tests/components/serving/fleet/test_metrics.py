from types import SimpleNamespace

import pytest

from components.registry.mlflow.versions import Version
from components.serving.fleet.metrics import MetricsPage, ServingMetrics
from components.serving.fleet.versions import VersionSnapshot
from components.serving.interface import EngineHealth


@pytest.fixture
def parts():
    """The parts whose state the page shows, before the base is loaded and the registry was read."""
    return SimpleNamespace(
        fleet=SimpleNamespace(snapshot=VersionSnapshot(), swap_count=0, read_errors={}, last_read_s=None),
        engine=SimpleNamespace(health=lambda: None, resident_artifacts={}),
        observation_buffer=SimpleNamespace(write_error="", dropped=0),
        troubles={"quotas": False},
        certificate_end_s=None,
    )


def render(metrics, parts):
    page = MetricsPage(
        metrics,
        parts.fleet,
        parts.engine,
        parts.observation_buffer,
        lambda: parts.troubles,
        parts.certificate_end_s,
    )
    return page.render().decode().splitlines()


def test_the_page_shows_the_counters_and_the_state_of_the_parts(parts):
    metrics = ServingMetrics()
    metrics.requests.labels("alder", "champion", 200).inc()
    early = render(metrics, parts)
    assert 'prefixfleet_requests_total{arm="champion",status="200",tenant="alder"} 1.0' in early
    assert "prefixfleet_ready 0.0" in early
    assert not any("rows_running" in line or "aliases_age" in line or "certificate" in line for line in early)

    parts.engine.health = lambda: EngineHealth(True, 3, 4, 5, 6, 700, "no answer")
    parts.engine.resident_artifacts = {"ab12": "alder"}
    parts.fleet.read_errors, parts.fleet.last_read_s = {"registry": "no answer"}, 0.0
    parts.fleet.snapshot = VersionSnapshot(unusable={"champion": {"alder": Version("alder", "1")}, "challenger": {}})
    parts.troubles, parts.certificate_end_s = {"quotas": True, "inputs": False}, 1.8e9
    page = render(metrics, parts)
    for line in (
        "prefixfleet_ready 1.0",
        "prefixfleet_rows_running 3.0",
        "prefixfleet_rows_queued 4.0",
        "prefixfleet_resident_prefixes_device 5.0",
        "prefixfleet_resident_prefixes_host 6.0",
        "prefixfleet_resident_bytes 700.0",
        'prefixfleet_resident{sha256="ab12",tenant="alder"} 1.0',
        "prefixfleet_store_trouble 1.0",
        "prefixfleet_registry_trouble 1.0",
        "prefixfleet_unusable_versions 1.0",
        "prefixfleet_rollout_trouble 0.0",
        "prefixfleet_quotas_trouble 1.0",
        "prefixfleet_inputs_trouble 0.0",
        "prefixfleet_certificate_end_timestamp_seconds 1.8e+09",
    ):
        assert line in page
    assert any(line.startswith("prefixfleet_aliases_age_seconds ") for line in page)
    assert any(line.startswith("process_") for line in page)


def test_two_servers_in_one_process_count_separately():
    first, second = ServingMetrics(), ServingMetrics()
    first.disconnects.inc()
    assert second.registry.get_sample_value("prefixfleet_disconnects_total") == 0


def test_a_forgotten_tenant_leaves_no_label(parts):
    metrics = ServingMetrics()
    for tenant in ("alder", "birch"):
        metrics.requests.labels(tenant, "champion", 200).inc()
        metrics.fallbacks.labels(tenant, "store").inc()
    metrics.forget("alder")
    page = "\n".join(render(metrics, parts))
    assert "alder" not in page
    assert "birch" in page
