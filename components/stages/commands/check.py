"""Checks drops without taking them, or the dataset where no drop waits: what would be taken, and what would not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from components.data.drop_checks import CheckedDrop, RejectedLine, check_drop, group_rejects, show_name
from components.data.dvc import POINTER_FILE
from components.data.merge import DropFacts, merge_drop
from components.data.overlaps import require_few_overlaps
from components.data.schema import Example
from components.data.scripts import measure_scripts
from components.errors import BaseModelError, DataError
from components.model.text.chat_files import require_chat_template
from components.model.text.token_counts import TokenCounter, TokenLengths, open_token_counter
from components.stages.dataset import find_tenants_with_drops
from components.stages.progress import StageProgress, join_abbreviated, report_progress
from components.stages.workspace import Workspace


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What the valid lines of one split hold."""

    scripts: Mapping[str, float]
    """Script -> share of the letters."""
    tokens: TokenLengths | None
    """None: not counted."""


@dataclass(frozen=True)
class TenantCheck:
    """One tenant's drop, or its data, as checked."""

    origin: Literal["drop", "data"]
    report: CheckedDrop | None = None
    """Its valid and rejected lines; None if its files could not be read."""
    facts: DropFacts | None = None
    """What the drop adds; of data the counts of their own lines. None if it cannot be merged."""
    texts: Mapping[str, TextFacts] = field(default_factory=dict)
    refusal: str = ""
    """Why the whole drop would be refused, or the data fail in training; "" if not."""
    notes: Sequence[str] = ()
    """What training would refuse or lose in these texts."""

    @property
    def reject_groups(self) -> list[list[RejectedLine]]:
        """The rejected lines by file and kind of reason."""
        return [] if self.report is None else group_rejects(self.report.rejects)

    @property
    def is_faulty(self) -> bool:
        """Whether a line or the whole would be rejected."""
        return bool(self.refusal or (self.report is not None and self.report.rejects))


@dataclass(frozen=True)
class DataCheck:
    """The result of `data check`."""

    tenants: Mapping[str, TenantCheck]
    uncounted: str
    """Why tokens were not counted; "" if they were."""


def check_data(workspace: Workspace, tenants: Sequence[str] | None = None) -> DataCheck:
    """Check the drops of all or the named tenants; without drops (of a named tenant: without its drop) the dataset.

    Raises:
        DataError: there are neither drops nor data, or a named tenant has neither.

    """
    dropped = find_tenants_with_drops(workspace)
    folders = {tenant: workspace.drops / tenant for tenant in dropped if tenants is None or tenant in tenants}
    wanted = ([] if folders else _list_data(workspace)) if tenants is None else [*tenants]
    for tenant in wanted:
        if tenant not in folders and (workspace.data / tenant).is_dir():
            folders[tenant] = workspace.data / tenant
    missing = [tenant for tenant in wanted if tenant not in folders]
    if missing or not folders:
        got = f"none of {join_abbreviated(missing)}" if missing else "none"
        fix = "write drops/TENANT/SPLIT.jsonl, or import a data set (`prefixfleet data import --help`)"
        raise DataError(f"drops in {workspace.drops} or data in {workspace.data}", got, fix)
    counter, uncounted = _open_counter(workspace)
    checks: dict[str, TenantCheck] = {}
    label = f"{len(folders)} tenants" if len(folders) > 1 else show_name(next(iter(folders)))
    for number, (tenant, folder) in enumerate(folders.items(), start=1):
        checks[show_name(tenant)] = _check_tenant(workspace, tenant, folder, counter)
        report_progress(StageProgress("checking", label, number, len(folders)))
    return DataCheck(checks, uncounted)


def _list_data(workspace: Workspace) -> list[str]:
    return workspace.list_tenants() if workspace.data.is_dir() and any(workspace.data.iterdir()) else []


def _open_counter(workspace: Workspace) -> tuple[TokenCounter | None, str]:
    folder = Path(workspace.base_config.path)
    if not folder.is_dir():
        return None, f"no folder {workspace.params.base.path} (base.path)"
    counter = open_token_counter(folder)
    return counter, "" if counter else f"no readable tokenizer.json and config.json in {folder}"


def _check_tenant(workspace: Workspace, tenant: str, folder: Path, counter: TokenCounter | None) -> TenantCheck:
    limits, is_drop = workspace.params.data, folder.parent == workspace.drops
    origin: Literal["drop", "data"] = "drop" if is_drop else "data"
    report, facts = None, None
    notes: list[str] = []
    try:
        report = check_drop(folder, limits, follow_links=not is_drop)
        # Before `dvc pull` the tenant's present splits are not known.
        knows_present = workspace.data.is_dir() or not (workspace.root / POINTER_FILE).exists()
        present = workspace.data / tenant if is_drop and knows_present else None
        merged = merge_drop(report, present, limits)
        facts = merged.facts
        notes = _find_few_examples(workspace, tenant, merged.examples) if not is_drop or knows_present else []
        report.require_usable(limits)
        if not is_drop or knows_present:
            report.require_all_splits(present)
        require_few_overlaps(tenant, facts.overlaps, limits)
        refusal = ""
    except DataError as problem:
        refusal = str(problem)
    texts: dict[str, TextFacts] = {}
    for split, examples in (report.accepted if report else {}).items():
        if examples:
            texts[split] = _describe_texts(workspace, tenant, examples, counter)
            notes += [f"{tenant}/{split}: {note}" for note in _find_notes(workspace, tenant, texts[split], counter)]
    if any(
        example.chat is not None for examples in (report.accepted if report else {}).values() for example in examples
    ):
        notes += _find_missing_template(workspace, tenant)
    return TenantCheck(origin, report, facts, texts, refusal, notes)


def _find_few_examples(workspace: Workspace, tenant: str, splits: Mapping[str, Sequence[Example]]) -> list[str]:
    params = workspace.params.for_tenant(tenant)
    split, least = params.evaluate.split, params.gate.min_slice
    count = len(splits.get(split, ()))
    if not count or count >= least:
        return []
    return [f"{tenant}: {count} {split} examples, fewer than gate.min_slice={least}: too few to compare prefixes"]


def _find_missing_template(workspace: Workspace, tenant: str) -> list[str]:
    try:
        require_chat_template(workspace.base_config)
    except BaseModelError as problem:
        return [f"{tenant}: its conversations cannot be trained: {problem}"]
    return []


def _describe_texts(
    workspace: Workspace, tenant: str, examples: Sequence[Example], counter: TokenCounter | None
) -> TextFacts:
    limit = workspace.params.for_tenant(tenant).train.max_source_tokens
    scripts = measure_scripts(text for example in examples for text in (*example.input_texts, *example.references))
    pairs = ((" ".join(example.input_texts), text) for example in examples for text in example.references)
    return TextFacts(scripts, None if counter is None else counter.measure(pairs, limit))


def _find_notes(workspace: Workspace, tenant: str, texts: TextFacts, counter: TokenCounter | None) -> list[str]:
    notes: list[str] = []
    tokens = texts.tokens
    if tokens is None or counter is None:
        return notes
    if tokens.unknown_share:
        limit = workspace.params.data.max_unknown
        fate = f"; training refuses more than {limit:.2%} (data.max_unknown)" if tokens.unknown_share > limit else ""
        shown = ", ".join(repr(text[:60]) for text in tokens.unknown_texts)
        notes.append(
            f"{tokens.unknown_share:.2%} of the tokens are unknown to the base's tokenizer, first in {shown}{fate}"
        )
    if counter.context is not None:
        slots = 0 if counter.separate_contexts else workspace.params.for_tenant(tenant).train.prefix_length
        longest = max(tokens.longest_source, tokens.longest_target)
        taken = longest if counter.separate_contexts else tokens.longest_pair + slots
        if taken > counter.context:
            notes.append(
                f"an example takes {taken:,} tokens (prefix included), more than the base's context of "
                f"{counter.context:,}: shorten it, or set train.max_source_tokens"
            )
    return notes
