"""Stage `base`: write the digests of the frozen model to out/base/base.json.

The other stages read the digests there and load the model only where they use it. The digests of a local folder are
computed again if its files may have changed. A model of the hub is identified by its name and revision.
"""

from pathlib import Path
from typing import Any

from components.config.quantizers import compute_base_digest
from components.data.kinds import CONVERSATIONS, describe_kind
from components.model.text.chat_files import compute_chat_digest
from components.stages.progress import log_info
from components.stages.stamps import read_json, write_json
from components.stages.workspace import Workspace

BASE_FILE = "base.json"
_HUB_SOURCE = "hub"
_TOKENIZER_FILES_KEY = "tokenizer_files_digest"
_FILES_KEY = "files_digest"
_CHAT_KEY = "chat_template_digest"
_CHAT_SETTINGS_KEY = "chat_settings_digest"


def read_base_facts(workspace: Workspace) -> dict[str, Any]:
    """Return base.json for the base in params.yaml. Loads the model only if the file is missing or out of date.

    Raises:
        BaseModelError: there is no such base, or prefixes cannot be attached to it.

    """
    path = workspace.get_output_folder("base") / BASE_FILE
    facts = read_json(path)
    if isinstance(facts, dict) and _is_up_to_date(workspace, facts):
        return facts
    from components.model.base.load import describe_base

    base = workspace.base
    named = {"path": workspace.params.base.path, "revision": workspace.params.base.revision}
    source = "folder" if Path(workspace.base_config.path).is_dir() else _HUB_SOURCE
    config = workspace.base_config
    settings = compute_chat_digest(None, config)
    facts = {**describe_base(base), **named, "source": source, _CHAT_SETTINGS_KEY: settings}
    write_json(path, facts)
    log_info(f"base: {base.name}, {base.parameter_count:,} parameters, digest {base.digest[:12]}")
    return facts


def find_chat_template_digest(workspace: Workspace, tenant: str) -> str:
    """Return base.json's digest of the chat template for a tenant with conversations; "" for one with pairs alone."""
    folder = workspace.data / tenant
    if not folder.is_dir() or workspace.digests.digest_folder(folder, describe_kind) != CONVERSATIONS:
        return ""
    return str((read_json(workspace.get_output_folder("base") / BASE_FILE) or {}).get(_CHAT_KEY, ""))


def _is_up_to_date(workspace: Workspace, facts: dict[str, Any]) -> bool:
    config = workspace.base_config
    if config.dtype not in (facts.get("dtype"), "fastest") or facts.get("revision") != config.revision:
        return False
    if not facts.get(_TOKENIZER_FILES_KEY) or not facts.get(_FILES_KEY):  # written by an earlier release
        return False
    if facts["digest"] != compute_base_digest(facts[_FILES_KEY], config.quantize):
        return False
    folder = Path(config.path)
    if not folder.is_dir():
        settings = compute_chat_digest(None, config)
        recorded_facts = facts.get("source"), facts.get("path"), facts.get(_CHAT_SETTINGS_KEY, "")
        return recorded_facts == (_HUB_SOURCE, config.path, settings)
    recorded = f"{facts[_FILES_KEY]} {facts[_TOKENIZER_FILES_KEY]}"
    current = workspace.digests.digest_folder(folder, _compute_digests)
    chat = compute_chat_digest(folder, config)
    return (recorded, facts.get(_CHAT_KEY, "")) == (current, chat) and facts["path"] == workspace.params.base.path


def _compute_digests(folder: Path) -> str:
    from components.model.base.digests import compute_model_digest, compute_tokenizer_digest

    return f"{compute_model_digest(folder)} {compute_tokenizer_digest(folder)}"
