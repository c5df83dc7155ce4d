"""Find a base's folder, on disk or in the cache of the Hugging Face hub, and convert errors of reading it.

Knows names and files; does not load a model.
"""

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.config import BaseConfig
from components.errors import BaseModelError, PrefixFleetError
from components.model.base.digests import check_optional_json, find_pickles, has_safetensors

_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_FIX = "build the base or correct base.path in params.yaml"


def find_folder(config: BaseConfig, more_files: Sequence[str] = ()) -> Path:
    """Return the folder of a base; a model of the hub is fetched first, with the files of these patterns too.

    Raises:
        BaseModelError: there is no such folder and no such model, or it is a file.
    """
    path = Path(config.path)
    if path.is_dir():
        return path.resolve()
    wanted = f"a base at {config.path}"
    if path.exists():
        raise BaseModelError(wanted, "a file", "name the folder that the model's files are in")
    if path.is_absolute() or config.path.startswith(".") or config.path.count("/") > 1:
        raise BaseModelError(wanted, "no such folder", _FIX)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*_HUB_FILES, *more_files]
    try:
        return Path(snapshot_download(config.path, revision=config.revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as problem:
        got = f"no such folder, and the hub answered: {str(problem).splitlines()[0]}"
        raise BaseModelError(wanted, got, _FIX) from None


def require_safetensors(folder: Path, config: BaseConfig) -> None:
    """Check that the weights in `folder`, which is that of `config`, are safetensors.

    Raises:
        BaseModelError: they are pickles, or there are none; the message has the command that converts pickles.
    """
    if has_safetensors(folder):
        return
    path, pickles, is_local = config.path, find_pickles(folder), Path(config.path).is_dir()
    target = f"{path.rstrip('/') if is_local else path.rpartition('/')[2]}-safetensors"
    words = ["prefixfleet", "base", "convert", path, target]
    command = shlex.join(words if config.revision is None else [*words, "--revision", config.revision])
    if pickles:
        got = f"{pickles[0].name} in {folder}, a pickle, which can run any code when it is opened"
        raise BaseModelError("weights as safetensors", got, f"convert it: {command}")
    fix = "save the model as safetensors (save_pretrained)"
    if not is_local:
        fix += f"; if it has a pytorch_model.bin, convert that: {command}"
    raise BaseModelError("weights as safetensors", f"no model.safetensors in {folder}", fix)


@contextmanager
def convert_errors(path: str) -> Iterator[None]:
    """Convert what transformers raises for a folder that it cannot load; its classes raise errors of many types."""
    try:
        yield
    except (PrefixFleetError, MemoryError):
        raise
    except Exception as problem:
        first, *others = str(problem).splitlines() or [type(problem).__name__]
        if "Weights only load failed" in first:
            fix = "get the model from its authors as safetensors; do not open this file"
            raise BaseModelError("pickles with tensors alone", f"{path}: a pickle with other objects", fix) from problem
        if "conversion of the weights" in first:
            got = f"{path}: weights that transformers cannot convert, such as quantised ones without their scales"
            fix = "download or save the model again, with the quantization_config that it was quantised with"
            raise BaseModelError("weights as config.json describes them", got, fix) from problem
        if "backend tokenizer" in first:
            got, fix = f"none that can be read in {path}", "save it there too (`tokenizer.save_pretrained(FOLDER)`)"
            raise BaseModelError("the tokenizer of the base", got, fix) from problem
        got = f"{path}: {first}{f' {others[0].strip()}' if others and first.endswith(':') else ''}"
        fix = "check base.path in params.yaml, and the model's config.json"
        raise BaseModelError("a generative transformers model", got, fix) from problem


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Hide the progress bar, and the warnings on weights: `check_loading_report` raises for them.

    Also hides what torchao says of kernels for other machines when transformers imports it.
    """
    from transformers.utils import logging as transformers_logging

    was_enabled, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if was_enabled:
            transformers_logging.enable_progress_bar()


def check_files(model_config: Any, folder: Path) -> None:
    """Refuse folders of which transformers would load other weights than those that the digest covers.

    Raises:
        BaseModelError: the folder has an adapter, names other weights, or has a broken generation_config.json.
    """
    if (folder / "adapter_config.json").is_file():
        fix = "save the merged model (merge_and_unload); for a prefix run `prefixfleet import TENANT FOLDER`"
        raise BaseModelError("a whole model", f"an adapter beside or instead of it in {folder}", fix)
    check_optional_json(folder / "generation_config.json")
    other = getattr(model_config, "transformers_weights", None)
    if other is not None:
        fix = "save the model again with save_pretrained"
        raise BaseModelError("weights in model.safetensors", f"config.json names {other!r}", fix)
