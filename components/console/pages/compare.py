"""Two versions of a tenant side by side, row by row; and the blind mode, in which a person picks the better output."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from components.config import Metric
from components.console.paging import find_page
from components.console.refusals import PageRefusedError, make_not_found_error
from components.console.security import FormFields
from components.console.view import OperatorView, TenantView, View
from components.evaluation.comparison import ComparedRow, Outcome, count_outcomes, describe_counts
from components.evaluation.metrics import METRIC_LABELS
from components.evaluation.preference import Choice
from components.evaluation.text_differences import find_differences
from components.registry.registry import CHALLENGER, CHAMPION, Version
from components.rollout.store.preferences import Preference, find_chosen, read_tally, save_preference
from components.stages.reports.version_comparison import BASE

router = APIRouter()

_ROWS_PER_PAGE = 25
_OUTCOMES: dict[Outcome, str] = {"win": "second is better", "loss": "first is better", "tie": "equal"}


@dataclass(frozen=True, slots=True)
class CompareQuery:
    """What is compared and shown; "" for everything."""

    first: str
    second: str
    metric: Metric
    slice: str = ""
    outcome: Outcome | Literal[""] = ""

    def to_url(self, **changes: object) -> str:
        """Return the query as part of a URL, with these changes."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return "?" + urlencode({name: value for name, value in {**values, **changes}.items() if value != ""})


class _Pair(NamedTuple):
    """The two versions that were chosen; `first` None: the base alone."""

    first: Version | None
    second: Version


@router.get("/tenants/{tenant}/compare", response_model=None)
def show_comparison(
    view: TenantView,
    tenant: str,
    first: str = "",
    second: str = "",
    metric: Metric = "chrf",
    slice: str = "",  # noqa: A002 - the parameter's name in the URL
    outcome: Outcome | Literal[""] = "",
    page: int = 1,
) -> Response:
    """Show the rows of two versions; without a choice the challenger, else the newest, beside the champion."""
    versions = view.sources.registry.find_versions(tenant)
    if not versions:
        return view.render("compare.html", tenant=tenant, versions=[], query=None)
    pair = _choose_pair(versions, first, second)
    query = CompareQuery(pair.first.version if pair.first else BASE, pair.second.version, metric, slice, outcome)
    compared = view.console.comparisons.compare(tenant, *pair)
    scored = view.console.comparisons.score(tenant, *pair, metric)
    in_slice = [row for row in scored if slice in ("", row.slice)]
    rows = [row for row in in_slice if outcome in ("", row.outcome)]
    place = find_page(len(rows), page, _ROWS_PER_PAGE)
    counts = count_outcomes(in_slice)
    return view.render(
        "compare.html",
        tenant=tenant,
        versions=versions,
        query=query,
        compared=compared,
        slices=[("", "all"), *((name, name) for name in compared.slices)],
        rows=[(row, *find_differences(row.first, row.second)) for row in place.cut(rows)],
        page=place,
        counts=counts,
        sentence=describe_counts(counts, metric),
        metrics=METRIC_LABELS,
        outcomes=_OUTCOMES,
        tally=_describe_tally(view, tenant, query),
    )


@router.get("/tenants/{tenant}/compare/blind", response_model=None)
def show_blind_pair(view: OperatorView, tenant: str, first: str, second: str, metric: Metric = "chrf") -> Response:
    """Show the next example on which this person has not chosen, with the two outputs in a random order."""
    pair = _choose_pair(view.sources.registry.find_versions(tenant), first, second)
    query = CompareQuery(pair.first.version if pair.first else BASE, pair.second.version, metric)
    open_rows, total = _find_open_rows(view, tenant, pair, query)
    row = open_rows[0] if open_rows else None
    texts = ("", "") if row is None else _order_texts(view, row)
    return view.render(
        "compare_blind.html",
        tenant=tenant,
        query=query,
        row=row,
        texts=texts,
        done=total - len(open_rows),
        total=total,
        tally=_describe_tally(view, tenant, query),
    )


@router.post("/tenants/{tenant}/compare/blind", response_model=None)
def save_choice(view: OperatorView, tenant: str, form: FormFields) -> Response:
    """Save what the person preferred as feedback on the newer version, and show the next example."""
    pair = _choose_pair(view.sources.registry.find_versions(tenant), form.get("first", ""), form.get("second", ""))
    first = pair.first.version if pair.first else BASE
    query = CompareQuery(first, pair.second.version, "chrf")
    open_rows, _ = _find_open_rows(view, tenant, pair, query)
    row = next((one for one in open_rows if str(one.number) == form.get("row")), None)
    picked = form.get("picked", "")
    if picked not in ("left", "right", "neither"):
        raise PageRefusedError(400, "left, right or neither", repr(picked[:50]), "use the page's own buttons")
    if row is not None:
        is_swapped = _is_swapped(view, row)
        choice: Choice = "neither" if picked == "neither" else "first" if (picked == "left") != is_swapped else "second"
        preference = Preference(
            tenant=tenant,
            first=first,
            second=pair.second.version,
            second_arm=CHALLENGER if CHALLENGER in pair.second.aliases else CHAMPION,
            example=_identify(row),
            choice=choice,
            person=_name_person(view),
        )
        save_preference(view.sources.database, preference)
    return RedirectResponse(f"{view.root}/tenants/{tenant}/compare/blind{query.to_url()}", 303)


def _choose_pair(versions: Sequence[Version], first: str, second: str) -> _Pair:
    """Return the versions of these numbers, the older first.

    Raises:
        PageRefusedError: 404, there is no such version, or only one is named twice.
    """
    by_number = {one.version: one for one in versions}
    champion = next((one for one in versions if CHAMPION in one.aliases), None)
    newest = next((one for one in versions if CHALLENGER in one.aliases), versions[0] if versions else None)
    later = by_number.get(second) if second else newest
    if later is None or (first and first != BASE and first not in by_number):
        raise make_not_found_error("a version of this tenant")
    if first:
        earlier = by_number.get(first)
    else:
        before = (one for one in versions if int(one.version) < int(later.version))
        earlier = champion if champion and champion != later else next(before, None)
    if earlier is not None and earlier == later:
        raise PageRefusedError(400, "two versions", f"version {second} twice", "choose another version to compare with")
    if earlier is not None and int(earlier.version) > int(later.version):
        earlier, later = later, earlier
    return _Pair(earlier, later)


def _describe_tally(view: View, tenant: str, query: CompareQuery) -> str:
    tally = read_tally(view.sources.database, tenant, query.first, query.second)
    first = "the base" if query.first == BASE else f"version {query.first}"
    return tally.describe(first, f"version {query.second}")


def _find_open_rows(view: View, tenant: str, pair: _Pair, query: CompareQuery) -> tuple[list[ComparedRow], int]:
    """Return the rows with two outputs on which the person has not chosen, in an order of no meaning; and all such."""
    rows = [row for row in view.console.comparisons.score(tenant, *pair, query.metric) if row.first != row.second]
    examples = [_identify(row) for row in rows]
    chosen = find_chosen(view.sources.database, tenant, query.first, query.second, _name_person(view), examples)
    left = [(example, row) for example, row in zip(examples, rows, strict=True) if example not in chosen]
    return [row for _, row in sorted(left, key=lambda one: _digest(view, one[0]))], len(rows)


def _identify(row: ComparedRow) -> str:
    return "\n".join((row.source, *row.references))


def _digest(view: View, text: str) -> bytes:
    token = view.console.sessions.make_form_token(view.session_id)
    return hmac.digest(token.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _is_swapped(view: View, row: ComparedRow) -> bool:
    """Whether the second version's output stands left: random, and the same as long as the session lasts."""
    return bool(_digest(view, f"order {_identify(row)}")[0] % 2)


def _order_texts(view: View, row: ComparedRow) -> tuple[str, str]:
    return (row.second, row.first) if _is_swapped(view, row) else (row.first, row.second)


def _name_person(view: View) -> str:
    return view.visitor.name if view.visitor else ""
