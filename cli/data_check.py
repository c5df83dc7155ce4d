"""The output of `data check`: as lines and a table for people, capped, or whole as JSON. Knows no file."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from components.data.schema import SPLITS
from components.stages.commands.check import DataCheck, TenantCheck, TextFacts

COLUMNS = (
    "tenant", "split", "lines", "new", "duplicates", "in dataset", "trimmed", "rejected", "longest (tokens)", "scripts"
)  # fmt: skip
_MAX_TENANTS = 20
_SHOWN_OF_A_KIND = 3
_SHOWN_KINDS = 10
_SHOWN_SCRIPTS = 3


def make_rows(check: DataCheck) -> list[tuple[str, ...]]:
    """Return the table's rows, one a split, of the first tenants."""
    return [
        row
        for tenant, one in list(check.tenants.items())[:_MAX_TENANTS]
        for split in SPLITS
        if (row := _make_row(tenant, split, one)) is not None
    ]


def make_lines(check: DataCheck) -> Iterator[str]:
    """Yield what was found, tenant by tenant: troubles first, then what is worth knowing; of many tenants the first."""
    told = [(tenant, one) for tenant, one in check.tenants.items() if _has_news(one)]
    told.sort(key=lambda item: not item[1].is_faulty)
    for tenant, one in told[:_MAX_TENANTS]:
        yield from _describe_rejects(one)
        for overlap in one.facts.overlaps if one.facts else ():
            yield f"{tenant}: {overlap.sentence}: {', '.join(map(repr, overlap.first))}"
        yield from one.notes
        if one.refusal:
            would = (
                f"the drop of {tenant} would be refused"
                if one.origin == "drop"
                else f"training on the data of {tenant} would fail"
            )
            yield f"{would}: {one.refusal}"
    hidden = max(len(told), len(check.tenants)) - _MAX_TENANTS
    if hidden > 0:
        yield f"and {hidden:,} more tenants: name them with --tenant, or use --json"
    if check.uncounted:
        yield f"lengths in tokens and unknown tokens were not checked: {check.uncounted}"


def to_json(check: DataCheck) -> dict[str, Any]:
    """Return everything but the rejected lines' texts; of each kind of reject the first three."""
    return {
        "faulty": any(one.is_faulty for one in check.tenants.values()),
        "tokens_unchecked_because": check.uncounted or None,
        "tenants": {tenant: _tenant_to_json(one) for tenant, one in check.tenants.items()},
    }


def _make_row(tenant: str, split: str, one: TenantCheck) -> tuple[str, ...] | None:
    counts = one.facts.counts.get(split) if one.facts else None
    rejected = _count_rejected(tenant, split, one)
    accepted = one.report.accepted.get(split) if one.report else None
    if counts is None and not rejected and accepted is None:
        return None
    numbers = (
        ("-",) * 5
        if counts is None
        else tuple(
            f"{number:,}" for number in (counts.examples, counts.new, counts.duplicates, counts.known, counts.trimmed)
        )
    )
    texts = one.texts.get(split)
    return (tenant, split, *numbers, f"{rejected:,}", _format_lengths(texts), _format_scripts(texts))


def _count_rejected(tenant: str, split: str, one: TenantCheck) -> int:
    file = f"{tenant}/{split}.jsonl"
    return sum(reject.file == file for reject in one.report.rejects) if one.report else 0


def _format_lengths(texts: TextFacts | None) -> str:
    tokens = None if texts is None else texts.tokens
    return "-" if tokens is None else f"{tokens.longest_source:,} + {tokens.longest_target:,}"


def _format_scripts(texts: TextFacts | None) -> str:
    shares = [] if texts is None else [item for item in texts.scripts.items() if item[1] >= 0.01]
    return ", ".join(f"{script} {share:.0%}" for script, share in shares[:_SHOWN_SCRIPTS]) or "-"


def _has_news(one: TenantCheck) -> bool:
    return one.is_faulty or bool(one.notes) or bool(one.facts and one.facts.overlaps)


def _describe_rejects(one: TenantCheck) -> Iterator[str]:
    report = one.report
    if report is None:
        return
    groups = one.reject_groups
    for group in groups[:_SHOWN_KINDS]:
        for reject in group[:_SHOWN_OF_A_KIND]:
            yield f"{reject.file}:{reject.line}: {reject.reason}"
        if len(group) > _SHOWN_OF_A_KIND:
            yield f"{group[0].file}: and {len(group) - _SHOWN_OF_A_KIND:,} more lines like these"
    if len(groups) > _SHOWN_KINDS:
        hidden = sum(map(len, groups[_SHOWN_KINDS:]))
        yield f"{report.tenant}: and {hidden:,} more rejected lines of {len(groups) - _SHOWN_KINDS} other kinds"
    for file, hint in report.hints.items():
        if hint:
            yield f"{file}: {hint}"
    for problem in list(report.unreadable.values())[1:]:  # the refusal names the first
        yield str(problem)


def _tenant_to_json(one: TenantCheck) -> dict[str, Any]:
    report, facts = one.report, one.facts
    return {
        "checked": one.origin,
        "refusal": one.refusal or None,
        "splits": {
            split: {
                **asdict(counts),
                "new": counts.new,
                "rejected": _count_rejected(report.tenant if report else "", split, one),
                **(asdict(one.texts[split]) if split in one.texts else {}),
            }
            for split, counts in (facts.counts.items() if facts else ())
        },
        "overlaps": [
            {**asdict(overlap), "share": overlap.share, "sentence": overlap.sentence}
            for overlap in (facts.overlaps if facts else ())
        ],
        "rejects": [
            {
                "file": group[0].file,
                "count": len(group),
                "first": [{"line": reject.line, "reason": reject.reason} for reject in group[:_SHOWN_OF_A_KIND]],
            }
            for group in one.reject_groups
        ],
        "hints": {file: hint for file, hint in report.hints.items() if hint} if report else {},
        "unreadable": {file: str(problem) for file, problem in report.unreadable.items()} if report else {},
        "notes": list(one.notes),
    }
