"""Champions that were accepted again get the tag of their decoding, many at once, on a real MLflow server."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import run_server
from scored_reports import scored

from components.evaluation.report import write_report
from components.registry.mlflow.versions import Version, to_model_name
from components.registry.registry import DECODING_TAG
from components.stages.champions import tag_judged_decodings
from components.stages.evaluate import REPORT_FILE
from components.stages.workspace import Workspace

TENANTS = tuple(f"tenant-{number}" for number in range(12))
GONE = TENANTS[3]


@pytest.mark.slow
def test_a_failing_tenant_does_not_keep_the_tag_from_the_others(make_root, tmp_path: Path, empty_mlflow: Path) -> None:
    database = tmp_path / "server.db"
    database.write_bytes(empty_mlflow.read_bytes())
    with run_server(database, f"{tmp_path}/store") as server:
        client = MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
        workspace = Workspace(make_root(TENANTS, registry={"tracking_uri": server.uri}))
        for tenant in TENANTS:
            client.create_registered_model(to_model_name(tenant))
            client.create_model_version(to_model_name(tenant), "s3://bucket/model")
            folder = workspace.get_output_folder("evaluate", tenant)
            folder.mkdir(parents=True)
            report = scored(["a b c d"], ["a b c d"]).report
            write_report(folder / REPORT_FILE, report.model_copy(update={"decoding": {"of": tenant}}))
        client.delete_registered_model(to_model_name(GONE))
        section = json.dumps(workspace.params.for_tenant(TENANTS[0]).evaluate.select_decoding(), sort_keys=True)
        champions = [Version(tenant, "1") for tenant in TENANTS[1:]] + [
            Version(TENANTS[0], "1", tags={DECODING_TAG: section})
        ]
        (failure,) = tag_judged_decodings(workspace, champions)
        assert (failure.tenant, failure.stage, failure.state) == (GONE, "register", "failed")
        tags = {
            tenant: client.get_model_version(to_model_name(tenant), "1").tags for tenant in TENANTS if tenant != GONE
        }
    assert tags.pop(TENANTS[0]) == {}
    assert tags == {tenant: {DECODING_TAG: json.dumps({"of": tenant})} for tenant in tags}
