"""Stage `base`: name the frozen model by its content in out/base/base.json.

The other stages read the digests there; the model itself is loaded only where it is used. A folder's digests are taken
again when its files may have changed; a model of the hub stands as long as its name and revision do.
"""

from pathlib import Path
from typing import Any

from components.stages.progress import log_info
from components.stages.stamps import read_json, write_json
from components.stages.workspace import Workspace

BASE_FILE = "base.json"
_HUB_SOURCE = "hub"


def read_base_facts(workspace: Workspace) -> dict[str, Any]:
    """What base.json says of the base that params.yaml names; loads the model only when the file does not stand.

    Raises:
        BaseModelError: no such base, or one that prefixes cannot be attached to.

    """
    path = workspace.get_output_folder("base") / BASE_FILE
    facts = read_json(path)
    if isinstance(facts, dict) and _is_up_to_date(workspace, facts):
        return facts
    from components.model.base.load import describe_base

    base = workspace.base
    named = {"path": workspace.params.base.path, "revision": workspace.params.base.revision}
    source = "folder" if Path(workspace.base_config.path).is_dir() else _HUB_SOURCE
    facts = {**describe_base(base), **named, "source": source}
    write_json(path, facts)
    log_info(f"base: {base.name}, {base.parameter_count:,} parameters, digest {base.digest[:12]}")
    return facts


def _is_up_to_date(workspace: Workspace, facts: dict[str, Any]) -> bool:
    config = workspace.base_config
    if config.dtype not in (facts.get("dtype"), "fastest") or facts.get("revision") != config.revision:
        return False
    folder = Path(config.path)
    if not folder.is_dir():
        return (facts.get("source"), facts.get("path")) == (_HUB_SOURCE, config.path)
    found = workspace.digests.digest_folder(folder, _compute_digests)
    told = f"{facts.get('digest')} {facts.get('tokenizer_digest')}"
    return told == found and facts["path"] == workspace.params.base.path


def _compute_digests(folder: Path) -> str:
    from components.model.base.digests import compute_model_digest, compute_tokenizer_digest

    return f"{compute_model_digest(folder)} {compute_tokenizer_digest(folder)}"
