"""infra/kubernetes: the work pool's template, rendered as Prefect's worker does, and the manifests of the worker."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import kubernetes_validate
import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import find_placeholders
from processes import PREFECT, run_in

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra" / "kubernetes"
TEMPLATE = json.loads((FOLDER / "gpu-work-pool.json").read_text(encoding="utf-8"))
VARIABLES = TEMPLATE["variables"]["properties"]
MANIFESTS = list(yaml.safe_load_all((FOLDER / "worker" / "worker.yaml").read_text(encoding="utf-8")))
WITHOUT_GPU = {"gpus": 0, "node_selector": {}, "tolerations": []}
VERSIONS = ["1.28", "1.34"]
"""Of Kubernetes: the oldest that managed clusters still ran when the template was written, and a recent one."""


def render(**values: Any) -> dict[str, Any]:
    """Return the manifest of the job that Prefect's worker would start for a run with these job variables."""
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    template = copy.deepcopy(TEMPLATE)
    configuration = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(template, values, client=object())
    )
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), name="shard-of-acme", flow_id=uuid4()))
    return configuration.job_manifest


def get_pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]


def validate(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def list_nulls(value: Any, path: str = "") -> list[str]:
    if value is None:
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items for found in list_nulls(inner, f"{path}/{key}")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", [{}, WITHOUT_GPU], ids=["with GPU", "without GPU"])
def test_the_job_is_valid_and_holds_no_null(values, version):
    manifest = render(**values)
    validate(manifest, version)
    assert list_nulls(manifest) == []


def test_a_shard_gets_one_gpu_on_a_node_that_has_one():
    pod = get_pod(render())
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert [each["key"] for each in pod["tolerations"]] == ["nvidia.com/gpu"]


def test_without_a_gpu_any_node_serves():
    pod = get_pod(render(**WITHOUT_GPU))
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 0
    assert pod["nodeSelector"] == {}
    assert pod["tolerations"] == []


def test_a_null_is_rendered_as_null_so_that_zero_and_empty_are_the_way_to_leave_out():
    limits = get_pod(render(gpus=None))["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] is None


def test_the_job_ends_with_its_pod_and_a_stopped_pod_has_time_to_save():
    manifest = render()
    assert manifest["spec"]["backoffLimit"] == 0
    assert get_pod(manifest)["restartPolicy"] == "Never"
    assert get_pod(manifest)["terminationGracePeriodSeconds"] >= 60


def test_the_first_process_of_the_pod_is_the_flow_so_that_the_signal_reaches_it():
    assert get_pod(render())["containers"][0]["args"] == ["python", "-m", "prefect.engine"]


def test_the_pod_is_confined_and_its_secrets_do_not_pass_through_prefect():
    pod = get_pod(render())
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["envFrom"] == [{"secretRef": {"name": "prefixfleet-worker", "optional": True}}]
    named = [name for name in VARIABLES["env"]["default"] if name.endswith(("KEY", "KEY_ID", "PASSWORD", "STRING"))]
    assert named == []


def test_what_is_written_goes_to_a_volume():
    container = get_pod(render())["containers"][0]
    environment = {each["name"]: each["value"] for each in container["env"]}
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert {environment["PREFIXFLEET_WORKER_HOME"], environment["HOME"], container["workingDir"]} <= mounts
    assert f"{environment['PREFIXFLEET_WORKER_HOME']}/scratch" in mounts
    assert Path(environment["PREFECT_HOME"]).parent == Path(environment["HOME"])


def test_the_cache_can_be_another_volume():
    empty = {"name": "cache", "emptyDir": {}}
    manifest = render(cache_volume=empty)
    validate(manifest, VERSIONS[-1])
    assert empty in get_pod(manifest)["volumes"]


def test_every_variable_is_used_and_every_placeholder_is_a_variable():
    used = {each.name for each in find_placeholders(json.dumps(TEMPLATE["job_configuration"]))}
    assert used == set(VARIABLES)


def test_the_environment_is_that_of_other_workers():
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    common = content["definitions"]["pool"]["job_variables"]["env"]
    assert common.items() <= VARIABLES["env"]["default"].items()


@pytest.mark.slow
def test_prefect_creates_a_pool_from_the_file(prefect_api):
    done = run_in(
        ROOT, PREFECT, "--no-prompt", "work-pool", "create", "cluster-test", "--type", "kubernetes",
        "--base-job-template", "infra/kubernetes/gpu-work-pool.json",
    )  # fmt: skip
    assert "Created work pool" in done.stdout
    pool = httpx.get(f"{prefect_api}/work_pools/cluster-test").json()
    assert pool["base_job_template"] == TEMPLATE


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_of_the_worker_are_valid(version):
    assert len(MANIFESTS) > 1
    for manifest in MANIFESTS:
        validate(manifest, version)


def test_pods_and_worker_find_the_accounts_the_claim_and_the_image():
    named = {(each["kind"], each["metadata"]["name"]) for each in MANIFESTS}
    pod = get_pod(render())
    assert ("ServiceAccount", pod["serviceAccountName"]) in named
    claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert ("PersistentVolumeClaim", claim) in named
    worker = next(get_pod(each) for each in MANIFESTS if each["kind"] == "Deployment")
    assert ("ServiceAccount", worker["serviceAccountName"]) in named
    assert worker["containers"][0]["image"] == pod["containers"][0]["image"]
    environment = {each["name"]: each["value"] for each in worker["containers"][0]["env"]}
    assert environment["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"] == VARIABLES["namespace"]["default"]
