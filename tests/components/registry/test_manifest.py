from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forged_artifacts import change_manifest

from components.errors import ArtifactError
from components.registry.manifest import Manifest, read_manifest

Save = Callable[..., Manifest]


@pytest.mark.parametrize(
    "changes", [{"schema_version": 1}, {"schema_version": "2"}, {"tenant": "../up"}, {"extra": 1}, {"parameters": "48"}]
)
def test_a_manifest_of_another_schema_or_with_wrong_fields_is_refused(
    tmp_path: Path, save: Save, changes: dict[str, Any]
) -> None:
    save(tmp_path)
    change_manifest(tmp_path, **changes)
    with pytest.raises(ArtifactError, match=next(iter(changes))):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"{" * 100_000])
def test_a_manifest_that_is_not_a_json_object_is_refused(tmp_path: Path, save: Save, content: bytes) -> None:
    save(tmp_path)
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        read_manifest(tmp_path)
