"""docs/upgrading.md has notes for each release, and names what each change of tables, settings and artifacts needs."""

import re

import pytest
from alembic.script import ScriptDirectory
from doc_pages import ROOT

from components.config.removed_keys import REMOVED_KEYS
from components.registry.manifest import ARTIFACT_SCHEMA
from components.rollout.store.migrations import SCHEMA

PAGE = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
SUBJECTS = re.compile(r"[Rr]evisions? (\d{4})(?: to (\d{4}))?")


def read_section(text, name):
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("release", HEADING.findall(CHANGELOG))
def test_each_release_has_notes(release):
    assert read_section(PAGE, release).strip(), f"docs/upgrading.md has no section {release}"


def test_every_revision_of_the_tables_is_in_the_notes_of_a_release_with_its_kind():
    scripts = ScriptDirectory(SCHEMA.folder, version_locations=[SCHEMA.folder])
    notes = "".join(read_section(PAGE, release) for release in HEADING.findall(CHANGELOG))
    named = set()
    for sentence in re.split(r"\.\s", " ".join(notes.split())):
        for first, last in SUBJECTS.findall(sentence):
            for number in range(int(first), int(last or first) + 1):
                kind = scripts.get_revision(f"{number:04d}").module.kind
                assert kind in sentence or f"{number:04d}" in named, sentence
                named.add(f"{number:04d}")
    assert named == {script.revision for script in scripts.walk_revisions()}


def test_removed_settings_and_the_schema_of_artifacts_are_in_the_notes():
    for section, keys in REMOVED_KEYS.items():
        for key in keys:
            assert f"`{section}.{key}`" in PAGE
    assert f"schema {ARTIFACT_SCHEMA}" in PAGE
