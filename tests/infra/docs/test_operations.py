"""The guide for whoever is on call: it names every alert, and every part that a server can report as failing."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def test_every_alert_is_in_the_guide_with_its_severity_and_a_link_to_its_section() -> None:
    groups = yaml.safe_load((ROOT / "infra/prometheus/rules.yaml").read_text(encoding="utf-8"))["groups"]
    alerts = {
        rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"] if "alert" in rule
    }
    rows = re.findall(r"^\| (critical|warning) \| \[(\w+)\]\(monitoring\.md#(\w+)\) \|", GUIDE, re.MULTILINE)
    assert {name: severity for severity, name, _ in rows} == alerts
    assert all(anchor == name.lower() for _, name, anchor in rows)


def test_every_trouble_of_a_server_leads_to_an_incident() -> None:
    code = (ROOT / "components/serving/http/service.py").read_text(encoding="utf-8")
    block = re.search(r"troubles = \{(.*?)\n        \}", code, re.DOTALL)
    assert block
    troubles = set(re.findall(r'^            "(\w+)":', block[1], re.MULTILINE))
    table = re.search(r"^\| `troubles` \| incident \|\n(.*?)\n\n", GUIDE, re.MULTILINE | re.DOTALL)
    assert table
    assert set(re.findall(r"`(\w+)`", table[1])) == troubles


def test_each_incident_says_what_is_seen_and_what_it_does_to_callers() -> None:
    incidents = GUIDE.split("## Incidents")[1].split("\n## ")[0].split("\n### ")[1:]
    exempt = ("A key leaked", "A tenant asks to be forgotten", "Restore")
    others = [one for one in incidents if not one.startswith(exempt)]
    assert len(others) >= 9
    assert all("*Seen:*" in one and "*Callers:*" in one for one in others)
