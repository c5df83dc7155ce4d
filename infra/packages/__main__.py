"""`python -m infra.packages`: what the product runs with. `make sbom`, `audit` and `licences` call it.

Exit codes: 0 all is well; 1 `audit` found a vulnerability, or `licences` a licence that is not permitted; 2 wrong input
or environment; 3 `audit` could not ask the database about all packages.
"""

import argparse
import sys
from pathlib import Path

from cli.messages import show_error
from cli.output import print_line, print_table
from components.errors import PrefixFleetError
from components.storage.atomic_files import write_atomic
from infra.packages.audit import NotAuditedError, audit_lock, require_complete
from infra.packages.licences import PackageLicence, judge_licences, list_unneeded, read_licences, read_policy
from infra.packages.runtime import LOCK
from infra.packages.sbom import write_bill

_FOUND, _NOT_AUDITED = 1, 3


def main(words: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.packages", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sbom = commands.add_parser("sbom", help="write the software bill of materials, in CycloneDX's form")
    licences = commands.add_parser("licences", help="list the licences, and check that all are permitted")
    for one, target in ((sbom, "sbom.cdx.json"), (licences, "licences.md")):
        one.add_argument("--target", type=Path, default=Path("out/packages") / target, help="the file to write")
        one.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter of the environment")
    audit = commands.add_parser("audit", help="look for known vulnerabilities; other options go to pip-audit")
    audit.add_argument("--lock", type=Path, default=LOCK, help="the file of pinned packages")
    chosen, rest = parser.parse_known_args(words)
    if rest and chosen.command != "audit":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if chosen.command == "sbom":
            count = write_bill(chosen.target, chosen.python)
            print_line(f"packages in {chosen.target}: {count}")
            return 0
        return _audit(chosen.lock, rest) if chosen.command == "audit" else _check_licences(chosen)
    except PrefixFleetError as problem:
        show_error(problem)
        return _NOT_AUDITED if isinstance(problem, NotAuditedError) else 2


def _audit(lock: Path, options: list[str]) -> int:
    audit = audit_lock(lock, options)
    if audit.found:
        rows = [(each.package, each.version, each.name, ", ".join(each.fixed_in) or "-") for each in audit.found]
        print_table("Known vulnerabilities", ("package", "version", "vulnerability", "fixed in"), rows)
        return _FOUND
    require_complete(audit)
    print_line(f"packages audited: {audit.count}; no known vulnerability")
    return 0


def _check_licences(chosen: argparse.Namespace) -> int:
    policy = read_policy()
    judged = judge_licences(read_licences(chosen.python), policy)
    write_atomic(chosen.target, _write_page(judged).encode())
    print_line(f"packages in {chosen.target}: {len(judged)}")
    for each in judged:
        if not each.permitted:
            print_line(f"{each.name} {each.version}: {each.licence} is not permitted by infra/packages/licences.yaml")
    for name in (unneeded := list_unneeded(judged, policy)):
        print_line(f"{name}: the exception in infra/packages/licences.yaml is not needed")
    return 0 if not unneeded and all(each.permitted for each in judged) else _FOUND


def _write_page(judged: list[PackageLicence]) -> str:
    """Return the packages as a table in Markdown."""
    rows = [
        f"| {each.name} | {each.version} | {each.exception.licence if each.exception else each.licence} "
        f"| {each.exception.reason if each.exception else ''} |"
        for each in judged
    ]
    head = ["# Licences", "", "| package | version | licence | why it may be used |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
