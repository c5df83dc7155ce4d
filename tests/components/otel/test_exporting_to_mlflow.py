"""Our traces in a receiver that others have written: MLflow's server, which takes OTLP at /v1/traces."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import run_server
from otlp_receiver import export_here
from waiting import wait_until

from components.errors import DataError
from components.otel.spans import open_root, open_span

SECRET = "the text of a caller"


@pytest.mark.slow
def test_mlflow_shows_a_night_with_its_tenants_and_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_server(tmp_path / "mlflow.db", str(tmp_path / "artifacts")) as server:
        environment = {
            "PREFIXFLEET_OTEL": "otlp",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{server.uri}/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-mlflow-experiment-id=0",
            "OTEL_METRICS_EXPORTER": "none",
        }
        with export_here(monkeypatch, environment), open_root("retrain", run=41), open_span("gate"):
            with open_span("gate tenant", tenant="alder", accepted=True):
                pass
            with pytest.raises(DataError), open_span("gate tenant", tenant="birch"):
                raise DataError("a line", SECRET, "correct it")
        client = MlflowClient(tracking_uri=server.uri)
        (trace,) = wait_until(lambda: client.search_traces(locations=["0"]), "the trace in MLflow")
        spans = wait_until(
            lambda: (found := client.get_trace(trace.info.trace_id).data.spans)[3:] and found, "all its spans"
        )
    names = {span.span_id: span.name for span in spans}
    assert sorted((names.get(span.parent_id), span.name) for span in spans if span.parent_id) == [
        ("gate", "gate tenant"),
        ("gate", "gate tenant"),
        ("retrain", "gate"),
    ]
    by_tenant = {span.attributes["prefixfleet.tenant"]: span for span in spans if span.name == "gate tenant"}
    assert by_tenant["alder"].attributes["prefixfleet.accepted"] is True
    assert by_tenant["birch"].attributes["error.type"] == "DataError"
    assert by_tenant["birch"].status.status_code.value == "ERROR"
    assert SECRET not in str(trace.to_dict()) + str([span.to_dict() for span in spans])
