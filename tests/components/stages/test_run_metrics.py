"""The page of flows' metrics: what it says, where it is left, and that its failure stops no flow."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from processes import find_free_port
from prometheus_client.parser import text_string_to_metric_families

from components.config import MetricsConfig
from components.errors import WorkspaceError
from components.rollout.store.database import open_database_url
from components.rollout.store.ledger import append_entries
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.rollout.types import LedgerEntry
from components.stages.outcome import TenantOutcome
from components.stages.run_metrics import (
    RUN_COUNTERS,
    RUN_GAUGES,
    name_retraining,
    publish_metrics,
    record_flow_end,
    render_metrics,
)


@pytest.fixture
def workspace(tmp_path):
    database = open_database_url(f"sqlite:///{tmp_path}/runs.db")
    yield SimpleNamespace(root=tmp_path, database=database, params=SimpleNamespace(metrics=MetricsConfig()))
    database.close()


@pytest.fixture
def filled(workspace):
    """After a night of two tenants and a cycle; a second run has begun."""
    run = begin_run_entry(workspace.database, "schedule", "ada", "2026-01-01T02:00:00+00:00")
    tenants = [
        RunTenant(tenant="alder", result="promoted", reason="data", began_s=10.0, ended_s=40.0, device_seconds=12.5),
        RunTenant(tenant="birch", result="rejected", reason="data", began_s=10.0, ended_s=40.0, training_tokens=640),
    ]
    end_run_entry(workspace.database, run, "2026-01-01T02:30:00+00:00", "abc.dir", 5, tenants)
    begin_run_entry(workspace.database, "schedule", "ada", "2026-01-02T02:00:00+00:00")
    append_entries(workspace.database, LedgerEntry(tenant="alder", by="retrain", action="promote"))
    record_flow_end(workspace, "retrain", 1000.0, [TenantOutcome("cedar", "train", "failed")] * 2, lambda: 2800.0)
    record_flow_end(workspace, "rollout", 3000.0, now_s=lambda: 3002.0)
    return workspace


def read_samples(text):
    """Name and labels -> value."""
    return {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_the_page_says_what_the_database_has_of_flows(filled):
    samples = read_samples(render_metrics(filled))
    expected = {
        ("flow_end_timestamp_seconds", "retrain"): 2800,
        ("flow_duration_seconds", "retrain"): 1800,
        ("flow_failed_tenants", "retrain"): 1,
        ("flow_end_timestamp_seconds", "rollout"): 3002,
        ("run_began_timestamp_seconds",): 1767232800,
        ("run_ended_timestamp_seconds",): 1767232800 + 1800,
        ("run_tenants", "promoted"): 1,
        ("run_tenants", "rejected"): 1,
        ("run_tenants", "failed"): 0,
        ("run_tenants", "unchanged"): 5,
        ("run_to_train_tenants",): 2,
        ("run_shards",): 1,
        ("run_longest_shard_seconds",): 30,
        ("run_device_seconds",): 12.5,
        ("run_training_tokens",): 640,
        ("run_open_began_timestamp_seconds",): 1767232800 + 86400,
        ("runs_total",): 1,
        ("ledger_entries_total", "promote"): 1,
        ("trials", "canary"): 0,
        ("messages_failing",): 0,
        ("messages_given_up",): 0,
    }
    assert {name: samples[(f"prefixfleet_{name[0]}", *name[1:])] for name in expected} == expected


def test_every_metric_of_the_page_is_described_and_none_names_a_tenant(filled):
    text = render_metrics(filled)
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names <= {f"prefixfleet_{name}" for name in (*RUN_GAUGES, *RUN_COUNTERS)}
    assert not any(tenant in text for tenant in ("alder", "birch", "cedar"))


def test_a_new_workspace_has_a_page_without_runs(workspace):
    samples = read_samples(render_metrics(workspace))
    assert samples[("prefixfleet_runs_total",)] == 0
    assert ("prefixfleet_run_shards",) not in samples


def test_the_textfile_is_replaced_as_a_whole_at_the_end_of_each_flow(workspace):
    workspace.params.metrics = MetricsConfig(textfile="var/metrics/fleet.prom")
    for end_s in (10.0, 20.0):
        record_flow_end(workspace, "rollout", 5.0, now_s=lambda end_s=end_s: end_s)
        samples = read_samples((workspace.root / "var/metrics/fleet.prom").read_text())
        assert samples[("prefixfleet_flow_end_timestamp_seconds", "rollout")] == end_s
    assert [path.name for path in (workspace.root / "var/metrics").iterdir()] == ["fleet.prom"]


def test_a_pushgateway_gets_the_page_under_the_fleet_s_job(filled):
    received = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self):
            length = int(self.headers["content-length"])
            received.append((self.path, self.rfile.read(length).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        serving = threading.Thread(target=gateway.handle_request)
        serving.start()
        filled.params.metrics = MetricsConfig(pushgateway=f"http://127.0.0.1:{gateway.server_port}", job="north")
        publish_metrics(filled)
        serving.join()
    ((path, page),) = received
    assert path == "/metrics/job/north"
    assert read_samples(page) == read_samples(render_metrics(filled))


def test_what_cannot_be_published_is_a_warning_and_the_end_is_recorded(workspace, caplog):
    workspace.params.metrics = MetricsConfig(pushgateway=f"http://127.0.0.1:{find_free_port()}")
    record_flow_end(workspace, "rollout", 5.0, now_s=lambda: 9.0)
    assert "metrics of the flow rollout are not published" in caplog.text
    assert read_samples(render_metrics(workspace))[("prefixfleet_flow_end_timestamp_seconds", "rollout")] == 9
    with pytest.raises(WorkspaceError, match="Pushgateway"):
        publish_metrics(workspace)
    (workspace.root / "file").write_text("")
    workspace.params.metrics = MetricsConfig(textfile="file/fleet.prom")
    with pytest.raises(WorkspaceError, match="correct the path"):
        publish_metrics(workspace)


def test_a_retraining_of_named_tenants_is_recorded_apart():
    assert (name_retraining(None), name_retraining(["alder"])) == ("retrain", "retrain-named")
