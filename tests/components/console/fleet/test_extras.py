"""What the table shows beside the status: scores, traffic, residence; and what a missing service leaves out."""

from types import SimpleNamespace

import pytest

from components.console.fleet.extras import add_extras, read_extras
from components.console.fleet.rows import FleetRow
from components.errors import ConfigError, RegistryError
from components.registry.registry import Version
from components.rollout.store.database import open_database_url
from components.rollout.store.ledger import append_entries
from components.rollout.store.observations import write_counts
from components.rollout.store.tables import OBSERVATIONS
from components.rollout.types import LedgerEntry, Observation

NOW_S = 6_000_000.0
METRICS = """# TYPE prefixfleet_resident gauge
prefixfleet_resident{sha256="aa",tenant="alder"} 1.0
"""
HISTORIES = {
    "alder": [
        Version("alder", str(number), sha256=sha256, tags={"metric.bleu": str(bleu)}, created_s=1000.0 * number)
        for number, sha256, bleu in ((1, "aa", 40.0), (2, "bb", 55.5))
    ],
    "birch": [Version("birch", "1", sha256="cc", tags={"metric.bleu": "none"}, created_s=1000.0)],
}
ROWS = [FleetRow(tenant=tenant, state="healthy", champion="1") for tenant in ("alder", "birch")]


@pytest.fixture
def sources(tmp_path):
    database = open_database_url(f"sqlite:///{tmp_path}/fleet.db")
    registry = SimpleNamespace(find_histories=lambda *tags: HISTORIES)
    yield SimpleNamespace(registry=registry, database=database, read_metrics=lambda: METRICS)
    database.close()


def raise_error(error):
    raise error


def test_rows_get_scores_the_champions_age_traffic_and_residence(sources):
    move = LedgerEntry(tenant="alder", by="ada", action="rollback", from_version="2", to_version="1", at="2026-01-01")
    append_entries(sources.database, move)
    seen = Observation(tenant="alder", version="1", arm="champion", minute=int(NOW_S // 60) - 5, requests=4, errors=1)
    write_counts(sources.database, [seen])
    extras, troubles = read_extras(sources, NOW_S)
    alder, birch = add_extras(ROWS, extras)
    assert troubles == []
    assert (alder.bleu, alder.bleus, alder.champion_since) == (40.0, [40.0, 55.5], "2026-01-01")
    assert (alder.requests, alder.errors, alder.is_resident) == (4, 1, True)
    assert (birch.bleu, birch.champion_since) == (None, "1970-01-01T00:16:40+00:00")
    assert (birch.requests, birch.is_resident) == (0, False)


def test_a_service_that_does_not_answer_leaves_its_columns_empty_and_is_named(sources):
    sources.read_metrics = lambda: raise_error(ConfigError("the metrics of the server", "no answer", "start it"))
    sources.registry.find_histories = lambda *tags: raise_error(RegistryError("every version", "no answer", "start it"))
    extras, troubles = read_extras(sources, NOW_S)
    alder = add_extras(ROWS, extras)[0]
    assert (alder.bleu, alder.is_resident) == (None, None)
    assert ["metrics" in one for one in troubles] == [False, True]


def test_traffic_that_could_not_be_read_is_unknown_and_not_none(sources):
    OBSERVATIONS.drop(sources.database.engine)
    extras, troubles = read_extras(sources, NOW_S)
    assert troubles
    alder = add_extras(ROWS, extras)[0]
    assert (alder.requests, alder.errors, alder.p95_ms) == (None, None, None)


def test_without_a_server_residence_is_unknown(sources):
    sources.read_metrics = None
    assert read_extras(sources, NOW_S)[0].resident is None
