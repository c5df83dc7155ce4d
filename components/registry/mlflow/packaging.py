"""Writes the MLmodel folder of a prefix: a pyfunc model from code, whose artifacts are the prefix and its manifest.

MLflow builds the folder once per process and configuration; further tenants get a copy with their own files, which
takes milliseconds. Requirements are not inferred: they are the installed versions of the packages that the model uses.
"""

import json
import tempfile
import threading
import uuid
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from components.config import EvaluateConfig
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
DEFAULT_DECODING: dict[str, Any] = {**EvaluateConfig().select_decoding(), "seed": 0, "batch_size": 32}
"""The names of predict's `params` with their defaults."""

_REQUIRED_PACKAGES = ("mlflow", "peft", "prefixfleet", "safetensors", "scikit-learn", "torch", "transformers")
_save_model_lock = threading.Lock()  # MLflow keeps the model that it loads in a global variable


def write_model(folder: Path, artifact: Path, config: Mapping[str, Any], decoding: Mapping[str, Any]) -> None:
    """Write an MLflow model for the (already checked) artifact folder.

    `config` (path, revision, dtype, quantize) locates the base; `decoding` overrides `DEFAULT_DECODING`.
    """
    with _save_model_lock:
        template = _build_template(
            json.dumps(dict(config), sort_keys=True), json.dumps({**DEFAULT_DECODING, **decoding})
        )
    files = {f"artifacts/{name}": (artifact / name).read_bytes() for name in (TENSORS_FILE, MANIFEST_FILE)}
    files.update(template.files)
    mlmodel = {
        **template.mlmodel,
        "model_uuid": uuid.uuid4().hex,
        "utc_time_created": str(datetime.now(UTC).replace(tzinfo=None)),
        "model_size_bytes": sum(len(content) for content in files.values()),
    }
    files["MLmodel"] = yaml.dump(mlmodel, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)).encode()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class _ModelTemplate(NamedTuple):
    """An MLmodel folder without its artifacts: the MLmodel file's content, and the other files by relative path."""

    mlmodel: dict[str, Any]
    files: dict[str, bytes]


@lru_cache(maxsize=8)
def _build_template(config: str, decoding: str) -> _ModelTemplate:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    kinds = {int: "long", float: "double", list: "string"}
    params = [
        ParamSpec(name, kinds[type(value)], value, shape=(-1,) if isinstance(value, list) else None)
        for name, value in json.loads(decoding).items()
    ]
    text = Schema([ColSpec("string")])
    with tempfile.TemporaryDirectory(prefix="prefixfleet-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow asks for an input example, which the signature makes unnecessary
        artifacts = {"prefix": Path(scratch, TENSORS_FILE), "manifest": Path(scratch, MANIFEST_FILE)}
        for path in artifacts.values():
            path.touch()
        folder = Path(scratch, "model")
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(MODEL_CODE),
            artifacts={name: str(path) for name, path in artifacts.items()},
            model_config=json.loads(config),
            pip_requirements=_list_requirements(),
            signature=ModelSignature(inputs=text, outputs=text, params=ParamSchema(params)),
        )
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.parent.name != "artifacts"
        }
    mlmodel = yaml.safe_load(files.pop("MLmodel"))
    flavor = mlmodel["flavors"]["python_function"]
    flavor["model_code_path"] = MODEL_CODE.name
    for entry in flavor["artifacts"].values():
        entry["uri"] = entry["path"]
    return _ModelTemplate(mlmodel, files)


def _list_requirements() -> list[str]:
    lines = []
    for package in _REQUIRED_PACKAGES:
        try:
            lines.append(f"{package}=={version(package)}")
        except PackageNotFoundError:  # this project, if it is run from a checkout without installation
            continue
    return lines
