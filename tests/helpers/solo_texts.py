"""What registered versions write with no other row in the batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.model.decoding import Decoding, generate_text
from components.registry.artifact import load_artifact
from components.stages.workspace import Workspace


def write_solo_texts(
    root: Path, folder: Path, tenants: Sequence[str], sources: Sequence[str], request: Mapping[str, Any]
) -> dict[tuple[str, str, str], str]:
    """(tenant, version, source) -> the text of each registered version; artifacts are fetched into `folder`.

    `request`: max_tokens, temperature and seed. Fails where two of the texts are the same.
    """
    workspace, texts = Workspace(root), {}
    decoding = Decoding(max_new_tokens=request["max_tokens"], temperature=request["temperature"], seed=request["seed"])
    for version in (one for tenant in tenants for one in workspace.registry.find_versions(tenant)):
        fetched = workspace.registry.fetch(version, folder / version.sha256)
        delta, _ = load_artifact(fetched, workspace.base)
        for source in sources:
            text = generate_text(workspace.base, delta, [source], decoding, 1)[0]
            texts[version.tenant, version.version, source] = text
    assert len(set(texts.values())) == len(texts), "every version must write something of its own"
    return texts
