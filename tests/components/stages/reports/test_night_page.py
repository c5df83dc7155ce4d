"""The page of a night: whole in itself, with every text of a tenant as text; what is many is folded."""

import re
from html.parser import HTMLParser

from components.rollout.store.runs import RunEntry, RunTenant
from components.rollout.types import LedgerEntry
from components.stages.reports.night_page import make_policy, summarize, write_page
from components.stages.reports.night_report import CauseGroup, NightReport, TenantGroup

SCRIPT = "<script>alert('x')</script>"
RUN = RunEntry(
    id=41,
    began_at="2026-11-29T02:00:00+00:00",
    ended_at="2026-11-29T04:05:00+00:00",
    trigger="schedule",
    by=f"ada {SCRIPT}",
    dataset_version="0f3c9a.dir",
    unchanged=3,
)


def make_report(tenants=(), **values):
    groups = [TenantGroup(one.result, one.detail, [one]) for one in tenants if one.result == "failed"]
    known = {"waiting": groups, "trials": [], "moves": [], "causes": [], "workers": [], "cost": None, "currency": ""}
    return NightReport(run=RUN, fleet="Acme", tenants=tenants, **{**known, **values})


class Elements(HTMLParser):
    """All elements and their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_texts_of_tenants_and_users_stay_texts():
    tenants = [RunTenant(tenant="acme", result="failed", detail=SCRIPT, worker=SCRIPT)]
    tenants.append(RunTenant(tenant="birch", result="promoted", detail=SCRIPT, reason=SCRIPT, bleu_after=1.0))
    move = LedgerEntry(tenant="acme", by=SCRIPT, action="rollback", why=SCRIPT)
    page = write_page(make_report(tenants, causes=[CauseGroup(SCRIPT, ["acme"])], moves=[move]))
    elements = Elements(page).found
    assert "script" not in [tag for tag, _ in elements]
    assert page.count("&lt;script&gt;") >= 6
    loaded = [one for _, one in elements if {"src", "srcset", "onclick", "style"} & one.keys()]
    assert loaded == [], "nothing from elsewhere, and nothing that the policy forbids"
    assert [tag for tag, _ in elements].count("link") == 0
    assert "url(" not in page
    assert "@import" not in page
    assert "style-src 'sha256-" in make_policy()


def test_the_first_sentence_says_whether_somebody_is_needed():
    assert summarize(make_report()) == "Nobody is needed: 3 unchanged."
    failed = RunTenant(tenant="acme", result="failed")
    assert summarize(make_report([failed])) == "1 tenant needs a person: 1 failed, 3 unchanged."
    page = write_page(make_report([failed]))
    assert "2026-11-29 02:00:00 UTC to 2026-11-29 04:05:00 UTC (2 h 05 min)" in page
    assert "The schedule started it." in page
    assert "no reason recorded" in page


def test_of_many_tenants_the_first_are_shown_and_the_others_folded():
    tenants = [RunTenant(tenant=f"t-{number}", result="failed", detail=f"reason {number}") for number in range(40)]
    page = write_page(make_report(tenants))
    shown = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert len(re.findall(r'<li class="failed">', page)) == 40
    assert len(re.findall(r'<li class="failed">', shown)) == 12
    assert "28 more reasons" in page
    group = TenantGroup("failed", "the same reason", tenants)
    page = write_page(make_report(tenants, waiting=[group]))
    shown = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert "t-7" in shown
    assert "t-8" not in shown
    assert "and 32 more" in page
