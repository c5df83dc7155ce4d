"""What the fleet's table shows beside the status: versions' scores, traffic, and what the server holds in memory.

Each of these may be missing; then its column is empty and a sentence says why. Knows no page.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from components.console.fleet.rows import FleetRow
from components.console.sources import Sources
from components.errors import PrefixFleetError
from components.registry.registry import Version
from components.rollout.store.ledger import read_newest
from components.rollout.store.runs import RunEntry, read_runs
from components.rollout.store.traffic import Traffic, read_traffic
from components.rollout.types import LedgerAction, LedgerEntry

_BLEU, _ROUGE = "metric.bleu", "metric.rougeL"
_MAX_SPARK = 20
"""Versions in a sparkline."""
_MOVES: tuple[LedgerAction, ...] = ("promote", "rollback", "withdraw")
_RESIDENT = "prefixfleet_resident"


@dataclass(frozen=True, slots=True)
class FleetExtras:
    """Facts by tenant; a tenant that is missing has none."""

    histories: Mapping[str, Sequence[Version]] = field(default_factory=dict)
    moves: Mapping[str, LedgerEntry] = field(default_factory=dict)
    """The newest move of each champion."""
    traffic: Mapping[str, Traffic] | None = None
    """None: unknown."""
    last_run: RunEntry | None = None
    resident: Set[str] | None = None
    """The sha256s of the artifacts in the server's memory; None: unknown."""


def read_extras(sources: Sources, now_s: float) -> tuple[FleetExtras, list[str]]:
    """Return the facts that could be read, and a sentence for each service that did not answer."""
    troubles: list[str] = []
    extras = FleetExtras()
    steps: tuple[Callable[[FleetExtras], FleetExtras], ...] = (
        lambda so_far: replace(so_far, histories=sources.registry.find_histories(_BLEU, _ROUGE, "sha256")),
        lambda so_far: replace(so_far, moves=read_newest(sources.database, _MOVES)),
        lambda so_far: replace(so_far, traffic=read_traffic(sources.database, int(now_s // 60) - 60)),
        lambda so_far: replace(so_far, last_run=next(iter(read_runs(sources.database, 1)), None)),
        lambda so_far: replace(so_far, resident=_read_resident(sources)),
    )
    for step in steps:
        try:
            extras = step(extras)
        except PrefixFleetError as problem:
            troubles.append(str(problem))
    return extras, troubles


def add_extras(rows: Iterable[FleetRow], extras: FleetExtras) -> list[FleetRow]:
    """Return the rows with the facts in their columns."""
    return [_add(row, extras) for row in rows]


def _add(row: FleetRow, extras: FleetExtras) -> FleetRow:
    history = extras.histories.get(row.tenant, ())
    champion = next((one for one in history if one.version == row.champion), None)
    move = extras.moves.get(row.tenant)
    since = move.at if move and move.to_version == row.champion else _format_time(champion)
    traffic = extras.traffic.get(row.tenant, Traffic(0, 0, None)) if extras.traffic is not None else None
    sha256 = champion.sha256 if champion else ""
    return replace(
        row,
        champion_since=since if row.champion else "",
        bleu=row.bleu if row.bleu is not None else _read_score(champion, _BLEU),
        rouge=_read_score(champion, _ROUGE),
        bleus=_list_scores(history, _BLEU),
        rouges=_list_scores(history, _ROUGE),
        requests=traffic.requests if traffic else None,
        errors=traffic.errors if traffic else None,
        p95_ms=traffic.p95_ms if traffic else None,
        is_resident=sha256 in extras.resident if extras.resident is not None and sha256 else None,
    )


def _read_resident(sources: Sources) -> Set[str] | None:
    if sources.read_metrics is None:
        return None
    families = text_string_to_metric_families(sources.read_metrics())
    return {sample.labels["sha256"] for family in families if family.name == _RESIDENT for sample in family.samples}


def _list_scores(history: Sequence[Version], tag: str) -> list[float]:
    scores = (_read_score(version, tag) for version in history[-_MAX_SPARK:])
    return [score for score in scores if score is not None]


def _read_score(version: Version | None, tag: str) -> float | None:
    try:
        return float(version.tags[tag]) if version else None
    except (KeyError, ValueError):
        return None


def _format_time(version: Version | None) -> str:
    if version is None or not version.created_s:
        return ""
    return datetime.fromtimestamp(version.created_s, UTC).isoformat(timespec="seconds")
