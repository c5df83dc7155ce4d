"""infra/kubernetes: the network policies allow exactly the connections that docs/kubernetes.md lists, on both sides."""

import re

import pytest
from kubernetes_overlays import OVERLAYS, ROOT, Manifest, find_workloads, get_pod, list_containers, render, select

LABEL = "app.kubernetes.io/component"
SHARDS = "shard"
"""Component of the jobs that Prefect's worker makes; no workload of an overlay."""
OUTSIDE = {
    "monitoring": "Prometheus (namespace `monitoring`)",
    "kube-system": "DNS of the cluster (`kube-system`)",
}
"""Namespace -> how the page names it."""
PAIR = tuple[str, str, int]


def read_ranges() -> dict[str, str]:
    """Return the ranges of addresses of the overlay `cloud`, and their names: of its settings, and a fixed one."""
    text = (ROOT / "infra/kubernetes/overlays/cloud/settings.env").read_text(encoding="utf-8")
    named = {value: name for name, value in re.findall(r"^(\w+_CIDR)=(.*)$", text, re.MULTILINE)}
    return {**named, "169.254.170.23/32": "EKS Pod Identity's agent on the node (169.254.170.23)"}


def read_page(overlay: str) -> set[PAIR]:
    """Return (from, to, port) of the page's table for an overlay."""
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \|$", page.split("\n## Who talks to whom\n")[1].split("\n## ")[0], re.MULTILINE)
    found = set()
    for row in rows[1:]:
        sources, target, ports, overlays = row.split(" | ")
        if overlays == "all" or f"`{overlay}`" in overlays:
            many = (
                re.findall("`([a-z0-9-]+)`", sources) if re.fullmatch(r"(`[a-z0-9-]+`(, )?)+", sources) else [sources]
            )
            one = target.strip("`") if target.startswith("`") else target
            found |= {(source, one, int(port)) for source in many for port in ports.split(", ")}
    return found


def find_components(manifests: list[Manifest]) -> set[str]:
    return {*find_workloads(manifests), SHARDS}


def list_selected(selector: Manifest) -> list[str]:
    """Return the components that a selector of pods names; "every pod" if it is empty."""
    if not selector:
        return ["every pod"]
    if "matchLabels" in selector:
        return [selector["matchLabels"][LABEL]]
    (expression,) = selector["matchExpressions"]
    assert (expression["key"], expression["operator"]) == (LABEL, "In")
    return list(expression["values"])


def list_peers(rule: Manifest, side: str) -> list[str]:
    """Return who is at the other end of a rule."""
    if side not in rule:
        return ["any address: Kubernetes' API"]
    peers = []
    for peer in rule[side]:
        if "ipBlock" in peer:
            peers.append(read_ranges()[peer["ipBlock"]["cidr"]])
        elif "namespaceSelector" in peer:
            peers.append(OUTSIDE[peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]])
        else:
            peers += list_selected(peer["podSelector"])
    return peers


def list_pairs(manifests: list[Manifest]) -> tuple[set[PAIR], set[PAIR]]:
    """Return what may be sent, and what may be received."""
    sent, received = set(), set()
    for policy in select(manifests, "NetworkPolicy").values():
        spec = policy["spec"]
        own = list_selected(spec["podSelector"])
        for rule in spec.get("egress", []):
            ports = {each["port"] for each in rule["ports"]}
            sent |= {(one, peer, port) for one in own for peer in list_peers(rule, "to") for port in ports}
        for rule in spec.get("ingress", []):
            ports = {each["port"] for each in rule["ports"]}
            received |= {(peer, one, port) for one in own for peer in list_peers(rule, "from") for port in ports}
    return sent, received


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_denied_at_first(overlay):
    policies = select(render(overlay), "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies.values():
        kinds = {"Ingress": "ingress", "Egress": "egress"}
        assert {kinds[each] for each in policy["spec"]["policyTypes"]} >= policy["spec"].keys() & set(kinds.values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_policies_allow_exactly_what_the_page_lists(overlay):
    sent, received = list_pairs(render(overlay))
    assert sent | received == read_page(overlay)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_connection_between_two_pods_is_allowed_on_both_sides(overlay):
    manifests = render(overlay)
    components = find_components(manifests)
    sent, received = ({pair for pair in pairs if {pair[0], pair[1]} <= components} for pairs in list_pairs(manifests))
    assert sent
    assert sent == received


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_name_pods_that_there_are_and_ports_on_which_they_listen(overlay):
    manifests = render(overlay)
    sent, received = list_pairs(manifests)
    workloads = find_workloads(manifests)
    others = {*OUTSIDE.values(), *read_ranges().values(), "every pod", "any address: Kubernetes' API"}
    named = {name for source, target, _ in sent | received for name in (source, target)}
    assert named - find_components(manifests) <= others
    for _, target, port in sent | received:
        if target in workloads:
            ports = [each["containerPort"] for one in list_containers(workloads[target]) for each in one["ports"]]
            assert port in ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_refers_to_a_server_may_reach_it(overlay):
    """Every address of a Service in a variable or an argument has its pair."""
    manifests = render(overlay)
    sent, _ = list_pairs(manifests)
    ports = {name: one["spec"]["ports"][0]["port"] for name, one in select(manifests, "Service").items()}
    wanted = set()
    for component, workload in find_workloads(manifests).items():
        for container in list_containers(workload):
            texts = [each.get("value", "") for each in container.get("env", [])] + container.get("command", [])
            for host, port in re.findall(r"https?://([a-z0-9]+)(?:\.prefixfleet\.svc)?:(\d+)", " ".join(texts)):
                assert ports[host] == int(port)
                wanted.add((component, host, int(port)))
    assert len(wanted) > 5
    assert wanted <= sent


def read_service_accounts() -> set[str]:
    """Return the service accounts to which the Terraform module gives roles."""
    text = (ROOT / "infra/terraform/modules/prefixfleet/roles.tf").read_text(encoding="utf-8")
    return set(
        re.findall(
            r'^    [a-z-]+ += "([a-z-]+)"$', text.partition("service_accounts = {")[2].partition("}")[0], re.MULTILINE
        )
    )


@pytest.mark.parametrize("overlay", ["cloud", "cloud-vllm"])
def test_who_uses_object_storage_by_a_role_reaches_the_agent_that_has_its_keys(overlay):
    manifests = render(overlay)
    sent, _ = list_pairs(manifests)
    storage = {source for source, target, _ in sent if target == "OBJECT_STORAGE_CIDR"}
    assert {source for source, target, _ in sent if target.startswith("EKS Pod Identity")} == storage
    accounts = {
        component: get_pod(workload)["serviceAccountName"] for component, workload in find_workloads(manifests).items()
    }
    with_role = {component for component, account in accounts.items() if account in read_service_accounts()}
    assert storage - {SHARDS} <= with_role
