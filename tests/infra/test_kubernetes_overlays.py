"""infra/kubernetes: every overlay is valid and complete in itself, and holds no secret and no image without a tag."""

import json
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_overlays import (
    FOLDER,
    OVERLAYS,
    ROOT,
    find_workloads,
    get_pod,
    list_all_containers,
    list_containers,
    list_variables,
    render,
    select,
)

from components.config import load_workspace_params

VERSIONS = re.search(r"^KUBERNETES_VERSIONS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
SECRET = re.compile(r"(PASSWORD|ACCESS_KEY|ACCESS_KEY_ID|AUTH_STRING|DATABASE|STORE_URI|CONNECTION_URL|SERVER_KEY)$")
PLACEHOLDER = re.compile(r"<[A-Z0-9-]+>")
OPTIONAL_SECRET = "prefixfleet-console"
"""Made after the first key, by a command of docs/kubernetes.md."""


def read_example(overlay: str) -> dict[str, dict[str, str]]:
    """Return the secrets of an overlay's example; `cloud-vllm` needs those of `cloud`."""
    file = FOLDER / "overlays" / overlay.removesuffix("-vllm") / "secrets.example.yaml"
    return {one["metadata"]["name"]: one["stringData"] for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))}


def list_secret_keys(overlay: str) -> set[tuple[str, str, bool]]:
    """Return the secret's name, the key and whether it may be missing, of all variables."""
    return {
        (reference["name"], reference["key"], reference.get("optional", False))
        for _, container in list_all_containers(render(overlay))
        for each in container.get("env", [])
        if (reference := each.get("valueFrom", {}).get("secretKeyRef"))
    }


@pytest.mark.parametrize("version", VERSIONS[1].split() if VERSIONS else [])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_valid(overlay, version):
    manifests = render(overlay)
    assert len(manifests) > 20
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_is_in_one_namespace_and_nothing_is_there_twice(overlay):
    manifests = render(overlay)
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)
    assert {one["metadata"]["namespace"] for one in manifests if one["kind"] != "Namespace"} == {"prefixfleet"}
    assert "to-be-set" not in yaml.safe_dump_all(manifests)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_pods_refer_to_is_there(overlay):
    manifests = render(overlay)
    claims, maps = select(manifests, "PersistentVolumeClaim"), select(manifests, "ConfigMap")
    accounts, services = select(manifests, "ServiceAccount"), select(manifests, "Service")
    for workload in find_workloads(manifests).values():
        pod = get_pod(workload)
        assert pod["serviceAccountName"] in accounts
        assert "serviceName" not in workload["spec"] or workload["spec"]["serviceName"] in services
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        own = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
        for container in list_containers(workload):
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts <= volumes.keys() | own
            for each in container.get("env", []):
                if reference := each.get("valueFrom", {}).get("configMapKeyRef"):
                    assert reference["key"] in maps[reference["name"]]["data"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_select_the_pods_of_one_workload(overlay):
    manifests = render(overlay)
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in find_workloads(manifests).values()]
    selectors = [one["spec"]["selector"] for one in select(manifests, "Service").values()]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in select(manifests, "PodDisruptionBudget").values()]
    assert selectors
    for selector in selectors:
        assert [each for each in labels if selector.items() <= each.items()] == [selector]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_applied_and_no_value_looks_like_one(overlay):
    manifests = render(overlay)
    assert select(manifests, "Secret") == {}
    plain = [
        f"{name}: {each['name']}"
        for name, container in list_all_containers(manifests)
        for each in container.get("env", [])
        if "value" in each and SECRET.search(each["name"])
    ]
    assert plain == []
    assert re.findall(r"\w+://[^/\s:@]+:[^/\s@]+@", yaml.safe_dump_all(manifests)) == []
    for one in select(manifests, "ConfigMap").values():
        assert [key for key in one["data"] if SECRET.search(key)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_example_has_all_keys_that_pods_read_and_placeholders_for_passwords(overlay):
    example = read_example(overlay)
    missing = [(name, key) for name, key, _ in list_secret_keys(overlay) if key not in example.get(name, {})]
    assert [name for name, _ in missing if name != OPTIONAL_SECRET] == []
    for values in example.values():
        for key, value in values.items():
            if SECRET.search(key):
                assert PLACEHOLDER.search(value), key
    shards = json.loads((FOLDER / "gpu-work-pool.json").read_text(encoding="utf-8"))["variables"]["properties"]
    assert shards["secret"]["default"] in example


def test_the_command_of_the_page_fills_the_example_so_that_passwords_agree():
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    function = re.search(r"^fill\(\) \{.*?\}$", page, re.MULTILINE | re.DOTALL)
    file = "infra/kubernetes/overlays/local/secrets.example.yaml"
    assert function
    script = f"openssl() {{ date +%N | sha256sum | cut -c -48; }}\n{function[0]}\nfill {file}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    manifests = list(yaml.safe_load_all(done.stdout))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.34", strict=True)
    secrets = {one["metadata"]["name"]: one["stringData"] for one in manifests}
    assert PLACEHOLDER.search(yaml.safe_dump([*secrets.values()])) is None
    postgres = secrets["prefixfleet-postgres"]
    for secret, key in (
        ("prefixfleet-database", "PREFIXFLEET_DATABASE"),
        ("prefixfleet-mlflow", "MLFLOW_BACKEND_STORE_URI"),
    ):
        assert (
            secrets[secret][key]
            == f"postgresql+psycopg2://mlflow:{postgres['MLFLOW_DB_PASSWORD']}@postgres:5432/mlflow"
        )
    prefect = secrets["prefixfleet-prefect"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert prefect == f"postgresql+asyncpg://prefect:{postgres['PREFECT_DB_PASSWORD']}@postgres:5432/prefect"
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert secrets["prefixfleet-mlflow"][key] == secrets["prefixfleet-worker"][key]
    assert len(set(postgres.values())) == 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_named_in_one_place_with_a_tag(overlay):
    sources = [
        path for path in FOLDER.rglob("*.yaml") if path.parent.name != "worker" and path.name != "kustomization.yaml"
    ]
    named = {name for path in sources for name in re.findall(r"^ +image: (.+)$", path.read_text("utf-8"), re.MULTILINE)}
    assert named == {"prefixfleet", "prefixfleet-vllm", "postgres", "versity/versitygw"}
    images = {container["image"] for _, container in list_all_containers(render(overlay))}
    assert all(re.fullmatch(r"[a-z./-]+:(?!latest)[\w.-]+(@sha256:[0-9a-f]{64})?", image) for image in images)
    assert len({image for image in images if "vllm" not in image and "prefixfleet" in image}) == 1


def test_the_stores_inside_are_those_of_compose():
    compose = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    workloads = find_workloads(render("local"))
    for name in ("postgres", "s3"):
        assert list_containers(workloads[name])[0]["image"] == compose[name]["image"]
    assert list_containers(workloads["buckets"])[0]["command"][2:] == compose["buckets"]["command"][2:]
    scripts = [text for one in select(render("local"), "ConfigMap").values() for text in one["data"].values()]
    for path in ("postgres/databases.sh", "s3/create_buckets.py"):
        assert (ROOT / "infra" / path).read_text(encoding="utf-8") in scripts


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_gateway_can_read_its_parameters(overlay, tmp_path):
    maps = select(render(overlay), "ConfigMap")
    (name,) = [one for one in maps if one.startswith("params-")]
    assert maps[name]["metadata"]["labels"] == {"app.kubernetes.io/component": "settings"}
    (tmp_path / "params.yaml").write_text(maps[name]["data"]["params.yaml"], encoding="utf-8")
    params = load_workspace_params(tmp_path)
    gateway = find_workloads(render(overlay))["gateway"]
    mounts = {mount["mountPath"]: mount for mount in list_containers(gateway)[0]["volumeMounts"]}
    assert Path(params.base.path).parent == Path("/bases")
    assert mounts["/bases"]["readOnly"]
    assert list_containers(find_workloads(render(overlay))["base-model"])[0]["command"][-1] == params.base.path
    assert (params.access.max_files, params.access.max_tuning_jobs) == (0, 0)


def test_the_gateway_and_the_engines_agree_on_address_store_and_base(tmp_path):
    manifests = render("cloud-vllm")
    (content,) = [one["data"] for name, one in select(manifests, "ConfigMap").items() if name.startswith("params-")]
    (tmp_path / "params.yaml").write_text(content["params.yaml"], encoding="utf-8")
    serve, base = load_workspace_params(tmp_path).serve, load_workspace_params(tmp_path).base
    service = select(manifests, "Service")["engine"]
    assert serve.engine == "vllm"
    assert serve.engines == [f"dns+http://engine:{service['spec']['ports'][0]['port']}"]
    assert service["spec"]["clusterIP"] == "None"
    (container,) = list_containers(find_workloads(manifests)["engine"])
    (storage,) = [
        one["data"] for name, one in select(manifests, "ConfigMap").items() if name.startswith("object-storage-")
    ]
    assert storage["ENGINE_STORE"] == serve.engine_store
    assert f"--model={base.path}" in container["args"]
    assert f"--dtype={base.dtype}" in container["args"]
    gateway = list_containers(find_workloads(manifests)["gateway"])[0]
    assert {"AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION"} <= set(list_variables(gateway, manifests))


def test_the_engines_have_the_options_that_the_gateway_gives_its_own_vllm():
    from components.config.serve import VllmConfig
    from components.serving.remote.vllm_process import make_command

    (container,) = list_containers(find_workloads(render("cloud-vllm"))["engine"])
    given = dict(each.removeprefix("--").split("=", 1) for each in container["args"])
    own = make_command(VllmConfig(resident_mb=4096), Path("python"), Path("/bases/base"), 8001, "$(ENGINE_STORE)")
    expected = dict(zip((each.removeprefix("--") for each in own[3::2]), own[4::2], strict=True))
    assert container["command"][1:] == own[1:3]
    for name in ("middleware", "model", "port"):
        assert given[name] == expected[name]
    for name in ("kv-transfer-config", "structured-outputs-config"):
        assert json.loads(given[name]) == json.loads(expected[name])


def test_engines_run_where_shards_run():
    pool = json.loads((FOLDER / "gpu-work-pool.json").read_text(encoding="utf-8"))["variables"]["properties"]
    pod = get_pod(find_workloads(render("cloud-vllm"))["engine"])
    assert pod["nodeSelector"] == pool["node_selector"]["default"]
    assert pod["tolerations"] == pool["tolerations"]["default"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == pool["gpus"]["default"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_first_step_of_an_upgrade_applies_the_migration_with_its_settings_alone(overlay):
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    selected = re.search(r"kubectl apply -k OVERLAY -l 'app.kubernetes.io/component in \((.*)\)'", page)
    deleted = re.search(r"kubectl delete job (.*) --ignore-not-found", page)
    assert selected
    assert deleted
    manifests = render(overlay)
    applied = [
        one
        for one in manifests
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/component") in selected[1].split(", ")
    ]
    assert sorted(one["kind"] for one in applied) == ["ConfigMap", "Job"]
    (job,) = select(applied, "Job").values()
    used = {volume["configMap"]["name"] for volume in get_pod(job)["volumes"] if "configMap" in volume}
    assert used == set(select(applied, "ConfigMap"))
    assert select(manifests, "Job").keys() <= set(deleted[1].split())
