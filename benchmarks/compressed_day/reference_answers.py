"""Compares texts that the servers sent with what each version writes when it runs alone, from its files in MLflow."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.model.decoding import Decoding, generate_text
from components.registry.artifact import load_artifact
from components.stages.workspace import Workspace
from compressed_day.promise import Promise
from compressed_day.traffic import Exchange

_MOST_VERSIONS = 40
_MAX_TOKENS = 16


def judge_texts(workspace: Workspace, exchanges: Sequence[Exchange], seed: int = 0) -> Promise:
    """Fetch up to 40 of the versions that answered, and compare all their texts."""
    by_version: dict[tuple[str, str], dict[str, set[str]]] = {}
    for one in (one for one in exchanges if not one.problem):
        by_version.setdefault((one.tenant, one.version), {}).setdefault(one.source, set()).add(one.text)
    chosen = random.Random(seed).sample(sorted(by_version), min(_MOST_VERSIONS, len(by_version)))
    broken, count = [], 0
    for tenant, version in chosen:
        texts = by_version[tenant, version]
        with tempfile.TemporaryDirectory() as scratch:
            found = next(one for one in workspace.registry.find_versions(tenant) if one.version == version)
            folder = workspace.registry.fetch(found, Path(scratch))
            delta, _ = load_artifact(folder, workspace.base)
        sources = sorted(texts)
        count += len(sources)
        alone = generate_text(workspace.base, delta, sources, Decoding(max_new_tokens=_MAX_TOKENS), 32)
        broken += [
            f"{tenant}, version {version}, {source!r}: {sorted(texts[source])}, alone {text!r}"
            for source, text in zip(sources, alone, strict=True)
            if texts[source] != {text}
        ]
    happened = f"{count:,} different answers of {len(chosen)} versions computed again alone, from MLflow's files"
    return Promise("a text is that of the version in its header", happened, broken)
