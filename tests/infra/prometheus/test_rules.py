"""The alert rules: what an alert must have, that its metrics exist, when it fires, and a real Prometheus with them."""

import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import yaml
from known_metrics import list_known_metrics
from prometheus_server import MISSING, PROMETHEUS, PROMTOOL, run_prometheus, run_promtool
from waiting import wait_until

from infra.grafana.dashboards import DASHBOARDS

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "infra/prometheus/rules.yaml"
TESTS = [Path(__file__).with_name(name) for name in ("rules_tests.yaml", "rules_day_tests.yaml")]
CONFIG = ROOT / "infra/prometheus/prometheus.yaml"
PAGE = ROOT / "docs/monitoring.md"
NAME = re.compile(r"\b(?:prefixfleet|process|node)[_:][a-zA-Z0-9_:]+")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=MISSING)


def read_rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def read_alerts():
    return {rule["alert"]: rule for rule in read_rules() if "alert" in rule}


def find_anchors():
    return {head.lower() for head in re.findall(r"^### (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}


def list_queries():
    """Name of a panel or rule -> a query."""
    rules = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in read_rules()]
    panels = [(panel.title, query) for page in DASHBOARDS for panel in page.panels for _, query in panel.queries]
    return rules + panels


def test_every_alert_has_a_severity_a_summary_a_description_and_a_section_of_the_runbook():
    for name, rule in read_alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["description"].endswith("."), name
        page, anchor = rule["annotations"]["runbook"].split("#")
        assert ROOT / page == PAGE
        assert anchor == name.lower()


def test_the_runbook_has_a_section_with_the_severity_of_every_alert_and_of_nothing_else():
    alerts, text = read_alerts(), PAGE.read_text(encoding="utf-8")
    assert find_anchors() == {name.lower() for name in alerts}
    for name, rule in alerts.items():
        assert f"### {name}\n\n{rule['labels']['severity']}. " in text


def test_every_metric_of_rules_and_dashboards_exists_in_the_code():
    recorded = {rule["record"] for rule in read_rules() if "record" in rule}
    known = list_known_metrics() | recorded
    unknown = {(where, name) for where, query in list_queries() for name in NAME.findall(query) if name not in known}
    assert unknown == set()


def test_every_alert_is_in_a_unit_test():
    text = "".join(path.read_text() for path in TESTS)
    assert [name for name in read_alerts() if f'"{name}"' not in text] == []


@needs_promtool
def test_the_unit_tests_of_the_rules_pass():
    assert run_promtool("test", "rules", *map(str, TESTS)).count("SUCCESS") == len(TESTS)


@needs_promtool
def test_the_example_of_prometheus_configuration_is_valid():
    run_promtool("check", "config", "--syntax-only", str(CONFIG))
    jobs = {one["job_name"] for one in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    named = {job for _, query in list_queries() for job in re.findall(r'job="(\w+)"', query)}
    assert named <= jobs


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason=MISSING)
def test_a_real_prometheus_reads_a_server_and_the_flows_page_and_answers_every_query(
    make_root, start_server, call, tmp_path, monkeypatch
):
    monkeypatch.delenv("PREFECT_API_URL")
    root = make_root(("alder",), serve={"open_metrics": True}, metrics={"textfile": "pages/metrics.prom"})
    assert call(root, "rollout").exit_code == 0
    handler = partial(SimpleHTTPRequestHandler, directory=str(root / "pages"))
    server = start_server(root)
    server.wait_ready()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        Thread(target=pages.serve_forever, daemon=True).start()
        targets = {"prefixfleet": [server.url.removeprefix("http://")]}
        (page := root / "pages" / "metrics").write_bytes((root / "pages/metrics.prom").read_bytes())
        assert page.read_text().startswith("# HELP prefixfleet_flow_end_timestamp_seconds ")
        with run_prometheus(
            tmp_path / "prometheus", RULES, {**targets, "pages": [f"127.0.0.1:{pages.server_port}"]}
        ) as one:
            assert one.wait_for("prefixfleet_ready == 1")
            assert one.wait_for('prefixfleet_flow_end_timestamp_seconds{flow="rollout"} > 0')
            check_rules(one)
            for where, query in list_queries():
                plain = replace_variables(query)
                assert "$" not in plain, where
                one.query(plain)
            assert (
                httpx.post(f"{server.url}/v1/completions", json={"model": "nobody", "prompt": "x"}).status_code == 404
            )
            assert one.wait_for('prefixfleet_refusals_total{status="404"} == 1')
            assert server.stop() == 0
            assert one.wait_for('ALERTS{alertname="PrefixFleetServerDown", alertstate="pending"}')
        pages.shutdown()


def check_rules(prometheus):
    """Every rule was evaluated without an error, and no alert fires on a healthy server."""

    def read():
        groups = prometheus.get("/rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_until(read, "the first evaluation of all rules")
    assert len(rules) == len(read_rules())
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def replace_variables(query: str) -> str:
    """Return a dashboard's query with Grafana's variables replaced as Grafana does."""
    return query.replace("$__rate_interval", "1m").replace("$tenant", ".+")
