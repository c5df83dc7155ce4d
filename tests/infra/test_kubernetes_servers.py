"""infra/kubernetes: ports, probes, variables and the times of a shutdown are those of the code in the pods."""

import re
from functools import cache
from pathlib import Path

import mlflow.environment_variables
import prefect.settings
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
from components.config.console import ConsoleConfig
from components.config.serve import ServeConfig
from components.console.pages import login
from components.console.server import MOUNT
from components.serving.fleet.metrics import GAUGES
from components.serving.http import server
from components.serving.http.admin_routes import router
from components.serving.remote import server_client

DOCUMENTED = {
    "AWS_ACCESS_KEY_ID": "https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html",
    "AWS_SECRET_ACCESS_KEY": "https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html",
    "AWS_DEFAULT_REGION": "https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html",
    "AWS_ENDPOINT_URL_S3": "https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html",
    "DVC_SITE_CACHE_DIR": "https://dvc.org/doc/user-guide/env",
    "GIT_AUTHOR_EMAIL": "https://git-scm.com/docs/git#_git_commits",
    "GIT_AUTHOR_NAME": "https://git-scm.com/docs/git#_git_commits",
    "GIT_COMMITTER_EMAIL": "https://git-scm.com/docs/git#_git_commits",
    "GIT_COMMITTER_NAME": "https://git-scm.com/docs/git#_git_commits",
    "DO_NOT_TRACK": "https://docs.vllm.ai/en/latest/usage/usage_stats.html",
    "FORWARDED_ALLOW_IPS": "https://www.uvicorn.org/settings/",
    "HF_HUB_OFFLINE": "https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables",
    "HOME": "https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html",
    "MLFLOW_ARTIFACTS_DESTINATION": "https://mlflow.org/docs/latest/cli.html",
    "MLFLOW_BACKEND_STORE_URI": "https://mlflow.org/docs/latest/cli.html",
    "OMP_NUM_THREADS": "https://docs.pytorch.org/docs/stable/threading_environment_variables.html",
    "PGDATA": "https://hub.docker.com/_/postgres",
    "POSTGRES_PASSWORD": "https://hub.docker.com/_/postgres",
    "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": "tests/infra/test_kubernetes.py",
    "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME": "tests/infra/test_kubernetes.py",
    "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY": "tests/infra/test_kubernetes.py",
    "ROOT_ACCESS_KEY_ID": "https://github.com/versity/versitygw/wiki",
    "ROOT_SECRET_ACCESS_KEY": "https://github.com/versity/versitygw/wiki",
    "VGW_HEALTH": "https://github.com/versity/versitygw/wiki",
}
"""Variable that other programs read -> where that is documented."""
SCRIPTS = (ROOT / "infra" / "postgres" / "databases.sh").read_text(encoding="utf-8")


def list_probes(container: dict) -> dict[str, dict]:
    return {kind: container[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in container}


def is_read_by_the_code(name: str) -> bool:
    pattern = re.compile(rf'"{name}"')
    return any(
        pattern.search(path.read_text(encoding="utf-8"))
        for top in ("cli", "components", "flows")
        for path in (ROOT / top).rglob("*.py")
    )


@cache
def list_prefect_paths() -> set[str]:
    from prefect.server.api.server import create_api_app

    return {f"/api{path}" for path in create_api_app().openapi()["paths"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_one_that_something_reads(overlay):
    manifests = render(overlay)
    names, used_as_arguments = {}, set()
    for where, container in list_all_containers(manifests):
        used = re.findall(r"\$\((\w+)\)", " ".join([*container.get("command", []), *container.get("args", [])]))
        variables = list_variables(container, manifests)
        assert set(used) <= set(variables), where
        used_as_arguments |= set(used)
        names |= dict.fromkeys(variables, where)
    unknown = {
        name: where
        for name, where in names.items()
        if not (
            name in DOCUMENTED
            or name in used_as_arguments
            or hasattr(prefect.settings, name)
            or hasattr(mlflow.environment_variables, name)
            or name in re.findall(r"\\getenv \w+ (\w+)", SCRIPTS)
            or is_read_by_the_code(name)
        )
    }
    assert unknown == {}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_agree_between_commands_containers_services_and_probes(overlay):
    manifests = render(overlay)
    workloads, services = find_workloads(manifests), select(manifests, "Service")
    for component, workload in workloads.items():
        for container in list_containers(workload):
            ports = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
            for probe in list_probes(container).values():
                assert "exec" in probe or probe["httpGet"]["port"] in ports, component
    for name, service in services.items():
        (port,), container = service["spec"]["ports"], list_containers(workloads[name])[0]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert ports[port["targetPort"]] == port["port"]
        words = " ".join([*container.get("command", []), *container.get("args", [])])
        given = re.search(r"--port[ =]:?(\d+)", words)
        assert name == "postgres" or (given and int(given[1]) == port["port"])


def test_ports_are_the_defaults_of_the_code():
    services = select(render("local"), "Service")
    ports = {name: service["spec"]["ports"][0]["port"] for name, service in services.items()}
    settings = prefect.settings.get_current_settings()
    assert ports["gateway"] == ServeConfig().port
    assert ports["console"] == ConsoleConfig().port
    assert ports["prefect"] == type(settings.server.api).model_fields["port"].default
    for component in ("flows", "worker"):
        (container,) = list_containers(find_workloads(render("local"))[component])
        health = {each["name"]: each["containerPort"] for each in container["ports"]}["health"]
        assert health == type(settings.worker.webserver).model_fields["port"].default
        assert "--with-healthcheck" in " ".join(container["command"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_server_has_three_probes_and_their_paths_exist(overlay):
    from mlflow.server.security_utils import HEALTH_ENDPOINTS

    routes = {
        "gateway": {route.path for route in router.routes},
        "console": {f"{MOUNT}{route.path}" for route in login.router.routes},
        "mlflow": set(HEALTH_ENDPOINTS),
        "prefect": list_prefect_paths(),
        "flows": {"/health"},
        "worker": {"/health"},
        "engine": set(re.findall(r'"(/health)"', Path(server_client.__file__).read_text(encoding="utf-8"))),
        "s3": {"/_/health"},
    }
    for component, workload in find_workloads(render(overlay)).items():
        if workload["kind"] == "Job":
            continue
        (container,) = list_containers(workload)
        probes = list_probes(container)
        wanted = {"readinessProbe", "livenessProbe"} | ({"startupProbe"} if component != "worker" else set())
        assert probes.keys() == wanted, component
        for probe in probes.values():
            assert "exec" in probe or probe["httpGet"]["path"] in routes[component], component


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_gateway_is_ready_when_readyz_says_so_and_alive_when_healthz_does(overlay):
    (container,) = list_containers(find_workloads(render(overlay))["gateway"])
    paths = {kind: probe["httpGet"]["path"] for kind, probe in list_probes(container).items()}
    assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_stopped_gateway_has_time_to_drain_and_a_new_one_comes_first(overlay, tmp_path):
    manifests = render(overlay)
    workload = find_workloads(manifests)["gateway"]
    (container,) = list_containers(workload)
    (content,) = [one["data"] for name, one in select(manifests, "ConfigMap").items() if name.startswith("params-")]
    (tmp_path / "params.yaml").write_text(content["params.yaml"], encoding="utf-8")
    drain_s = load_workspace_params(tmp_path).serve.drain_seconds
    command, wait_s = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    wanted_s = float(wait_s) + drain_s + server._SHUTDOWN_SECONDS + server._LAST_SECONDS
    assert get_pod(workload)["terminationGracePeriodSeconds"] > wanted_s
    # A pod is taken out of the Service when it is stopped, and load balancers learn it within a probe or two of theirs.
    assert float(wait_s) >= 2 * container["readinessProbe"]["periodSeconds"]
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_stopped_engine_has_time_for_its_answers():
    pod = get_pod(find_workloads(render("cloud-vllm"))["engine"])
    (container,) = pod["containers"]
    command, wait_s = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] > float(wait_s)
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= ServeConfig().vllm.start_seconds


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "local"])
def test_the_autoscaler_reads_a_metric_that_the_gateway_has(overlay):
    manifests = render(overlay)
    (scaler,) = select(manifests, "HorizontalPodAutoscaler").values()
    (metric,) = scaler["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name.removeprefix("prefixfleet_") in GAUGES
    gateway = find_workloads(manifests)["gateway"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == gateway["metadata"]["name"]
    assert "replicas" not in gateway["spec"]
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    (rule,) = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["rules"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(name)


def test_one_node_has_one_gateway_and_no_autoscaler():
    manifests = render("local")
    assert select(manifests, "HorizontalPodAutoscaler") == {}
    assert find_workloads(manifests)["gateway"]["spec"]["replicas"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_several_pods_answer_is_spread_and_survives_a_drained_node(overlay):
    manifests = render(overlay)
    budgets = select(manifests, "PodDisruptionBudget")
    for component in {"gateway", "engine"} & find_workloads(manifests).keys():
        workload = find_workloads(manifests)[component]
        assert budgets[component]["spec"]["maxUnavailable"] == 1
        spread = get_pod(workload)["topologySpreadConstraints"]
        assert "kubernetes.io/hostname" in [each["topologyKey"] for each in spread]
        for each in spread:
            assert each["labelSelector"]["matchLabels"] == workload["spec"]["selector"]["matchLabels"]


def test_the_settings_of_the_cloud_are_in_the_manifests():
    text = (FOLDER / "overlays" / "cloud" / "settings.env").read_text(encoding="utf-8")
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    rendered = yaml.safe_dump_all(render("cloud"))
    assert [name for name, value in settings.items() if value not in rendered] == []
    assert "SHARED_STORAGE_CLASS" not in rendered
    (ingress,) = select(render("cloud"), "Ingress").values()
    assert ingress["spec"]["tls"] == [{"hosts": [settings["HOST"]], "secretName": settings["TLS_SECRET"]}]
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == settings["HOST"]
    served = {each["path"]: each["backend"]["service"]["name"] for each in rule["http"]["paths"]}
    assert served == {"/": "gateway", MOUNT: "console"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prefects_server_writes_its_files_and_pages_into_volumes(overlay):
    (container,) = list_containers(find_workloads(render(overlay))["prefect"])
    environment = {each["name"]: each.get("value") for each in container["env"]}
    mounts = [Path(each["mountPath"]) for each in container["volumeMounts"] if not each.get("readOnly")]
    for name in ("HOME", "PREFECT_HOME", "PREFECT_SERVER_UI_STATIC_DIRECTORY"):
        assert any(Path(environment[name]).is_relative_to(mount) for mount in mounts), name
