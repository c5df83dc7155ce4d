"""Convert a model folder whose weights are pickles into a base with safetensors.

torch opens the pickles with `weights_only`, which builds tensors and runs no code. Knows transformers' folders; does
not know prefixes.
"""

import secrets
import shutil
from pathlib import Path

from components.config import BaseConfig
from components.errors import BaseModelError, WorkspaceError
from components.model.base.digests import find_pickles, has_safetensors
from components.model.base.model_folder import convert_errors, find_folder, silence_transformers
from components.model.base.text_model import load_model
from components.model.base.weight_checks import check_loading_report
from components.storage.atomic_files import convert_disk_errors

_SAVED_BY_MODEL = ("config.json", "generation_config.json")
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja", "additional_chat_templates/*.jinja")


def convert_to_safetensors(source: BaseConfig, target: Path) -> None:
    """Write the model and the tokenizer of `source` (a folder or a model of the hub) to the new folder `target`.

    The weights keep their dtype, tied weights are written once, and large models in several files with an index.

    Raises:
        BaseModelError: there is no such model, it has safetensors already or no pickles, or its pickles hold other
            things than the weights of its config.
        WorkspaceError: `target` exists, or the disk is full.
    """
    from transformers import AutoConfig

    if target.exists():
        raise WorkspaceError("a new folder for the converted base", f"{target}, which exists", "name another one")
    folder = find_folder(source, ["pytorch_model*.bin"])
    if has_safetensors(folder):
        got = f"safetensors in {folder}"
        raise BaseModelError("weights as pickles, to convert", got, "use the model as it is")
    if not find_pickles(folder):
        fix = "correct the path, or save the model with save_pretrained"
        raise BaseModelError("weights in pytorch_model.bin", f"none in {folder}", fix)
    with convert_errors(source.path), silence_transformers():
        model_config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model, report = load_model(
            model_config,
            folder,
            dtype="auto",
            use_safetensors=False,
            weights_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
        )
    check_loading_report(report, type(model).__name__, source.path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with convert_disk_errors(f"write {target}"):
        try:
            with silence_transformers():
                model.save_pretrained(temporary)
            _copy_other_files(folder, temporary)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _copy_other_files(folder: Path, target: Path) -> None:
    """Copy the tokenizer, chat templates and what else is no weights."""
    for file in (file for pattern in _COPIED for file in sorted(folder.glob(pattern))):
        if file.name not in _SAVED_BY_MODEL and not file.name.endswith(".index.json"):
            copy = target / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
