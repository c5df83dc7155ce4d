"""The dashboards: their files are those of the module, have Grafana's form, and every query is valid PromQL."""

import json
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from prometheus_server import MISSING, PROMTOOL, run_promtool

from infra.grafana.dashboards import DASHBOARDS, FOLDER
from infra.grafana.panels import write_dashboard

GRAFANA = Path(__file__).resolve().parents[2] / "infra/grafana"
PAGES = [json.loads((FOLDER / f"{one.name}.json").read_text()) for one in DASHBOARDS]
each_page = pytest.mark.parametrize("page", PAGES, ids=[one.name for one in DASHBOARDS])


def test_the_files_are_what_the_module_writes():
    assert {path.stem: path.read_text() for path in FOLDER.iterdir()} == {
        one.name: write_dashboard(one) for one in DASHBOARDS
    }, "run python -m infra.grafana.dashboards"


@each_page
def test_panels_have_ids_titles_and_places_of_their_own(page):
    panels = page["panels"]
    for name in ("id", "title"):
        assert len({panel[name] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(one["x"] + one["w"] <= 24 for one in places)
    for one, other in combinations(places, 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_below, (one, other)


@each_page
def test_the_data_source_is_a_variable_and_every_variable_is_defined(page):
    defined = {one["name"] for one in page["templating"]["list"]}
    assert "datasource" in defined
    for panel in page["panels"]:
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        used = {"tenant"} if "$tenant" in json.dumps(panel["targets"]) else set()
        assert used <= defined, panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))


def test_pages_have_addresses_of_their_own():
    assert len({page["uid"] for page in PAGES}) == len(PAGES)


@pytest.mark.skipif(PROMTOOL is None, reason=MISSING)
def test_every_query_parses(tmp_path):
    queries = [target["expr"] for page in PAGES for panel in page["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$tenant", ".+")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(queries)} rules found" in run_promtool("check", "rules", str(path))


def test_the_provisioning_examples_name_a_prometheus_and_a_folder():
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["access"]) == ("prometheus", "proxy")
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/prefixfleet.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]
