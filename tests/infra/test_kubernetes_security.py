"""infra/kubernetes: how every pod of every overlay is confined, and what the accounts may do."""

import pytest
from kubernetes_overlays import (
    OVERLAYS,
    find_workloads,
    get_pod,
    list_all_containers,
    list_containers,
    render,
    select,
)

WORKER = "worker"
"""The one component with a token of Kubernetes' API."""
WRITABLE = {"base-model": {"/bases"}, "flows": {"/workspace"}}
"""Component -> the claims' folders that it may write; the stores write their own."""


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_is_root_or_gets_variables_of_services(overlay):
    for workload in find_workloads(render(overlay)).values():
        pod = get_pod(workload)
        context = pod["securityContext"]
        assert context["runAsNonRoot"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (10001, 10001, 10001)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert [volume for volume in pod["volumes"] if "hostPath" in volume] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_confined_and_has_requests_and_limits(overlay):
    containers = dict(list_all_containers(render(overlay)))
    assert len(containers) >= 10
    for name, container in containers.items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        resources = container["resources"]
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys(), name
        assert {"memory", "ephemeral-storage"} <= resources["limits"].keys(), name
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_worker_has_a_token_of_kubernetes(overlay):
    manifests = render(overlay)
    for component, workload in find_workloads(manifests).items():
        assert get_pod(workload)["automountServiceAccountToken"] is (component == WORKER)
    accounts = select(manifests, "ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    bound = {
        (subject["kind"], subject["name"])
        for one in select(manifests, "RoleBinding").values()
        for subject in one["subjects"]
    }
    assert bound == {("ServiceAccount", "prefixfleet-worker")}
    used = [get_pod(one)["serviceAccountName"] for one in find_workloads(manifests).values()]
    assert used.count("prefixfleet-worker") == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_worker_may_make_jobs_and_look_at_pods_in_its_namespace_and_nothing_else(overlay):
    manifests = render(overlay)
    assert not {"ClusterRole", "ClusterRoleBinding"} & {one["kind"] for one in manifests}
    rules = {
        (group, resource): set(rule["verbs"])
        for role in select(manifests, "Role").values()
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    look = {"get", "list", "watch"}
    assert rules == {
        ("batch", "jobs"): look | {"create", "delete", "patch", "update"},
        **{("", name): look for name in ("events", "pods", "pods/log", "pods/status")},
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_base_is_written_by_its_job_alone(overlay):
    for component, workload in find_workloads(render(overlay)).items():
        claims = {each["name"] for each in get_pod(workload)["volumes"] if "persistentVolumeClaim" in each}
        written = {
            mount["mountPath"]
            for container in list_containers(workload)
            for mount in container["volumeMounts"]
            if mount["name"] in claims and not mount.get("readOnly")
        }
        assert written == WRITABLE.get(component, set())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_refuses_pods_with_more_rights(overlay):
    (namespace,) = select(render(overlay), "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_in_memory_or_on_the_node_has_a_limit(overlay):
    for workload in find_workloads(render(overlay)).values():
        for volume in get_pod(workload)["volumes"]:
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]
