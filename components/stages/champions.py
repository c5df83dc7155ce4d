"""A tenant's champion in MLflow: whether a step may use it, and the tag with the decoding that it was judged with.

Knows owners, tags and reports; does not know who is judged, or when.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from components.evaluation.report import read_report
from components.registry.registry import DECODING_TAG, MAX_TAG_CHARS
from components.stages.evaluation_scoring import REPORT_FILE
from components.stages.outcome import TenantOutcome, catch_failure
from components.stages.progress import log_warning
from components.stages.workspace import Workspace

if TYPE_CHECKING:
    from components.registry.mlflow.versions import Version


def select_comparable(workspace: Workspace, champion: "Version | None") -> "Version | None":
    """Return the champion that a new prefix is compared with; None if there is none, or it cannot serve.

    Raises:
        OwnershipError: the champion belongs to another workspace.
    """
    if champion is None:
        return None
    tenant = champion.tenant
    workspace.registry.ownership.check_version(champion, f"compare a prefix of {tenant} with its champion")
    if champion.fault:
        log_warning(
            f"{tenant}: champion version {champion.version} is not compared: {champion.fault}; "
            "the gate judges by the floors alone"
        )
        return None
    return champion


def tag_judged_decodings(workspace: Workspace, champions: "Iterable[Version]") -> list[TenantOutcome]:
    """Tag champions that were accepted with another decoding than their tag's; return the failures."""

    def tag(champion: "Version") -> list[TenantOutcome]:
        failures: list[TenantOutcome] = []
        with catch_failure(champion.tenant, "register", failures):
            decoding = read_judged_decoding(workspace, champion.tenant)
            if champion.tags.get(DECODING_TAG, "") != decoding and not workspace.registry.is_foreign(champion):
                workspace.registry.set_tags(champion, {DECODING_TAG: decoding})
        return failures

    changed = [one for one in champions if not _has_tag_of_section(workspace, one)]
    return [failure for some in workspace.registry.run_in_threads(tag, changed) for failure in some]


def _has_tag_of_section(workspace: Workspace, champion: "Version") -> bool:
    """Return whether the tag is that of the section `evaluate`, as nearly always: no report need be read."""
    evaluate = workspace.params.for_tenant(champion.tenant).evaluate
    return champion.tags.get(DECODING_TAG, "") == json.dumps(evaluate.select_decoding(), sort_keys=True)


def read_judged_decoding(workspace: Workspace, tenant: str) -> str:
    """Return the decoding of the tenant's report as JSON; "" if MLflow has no room for it."""
    report = read_report(workspace.get_output_folder("evaluate", tenant) / REPORT_FILE)
    decoding = json.dumps(report.decoding, sort_keys=True)
    return decoding if len(decoding) <= MAX_TAG_CHARS else ""
