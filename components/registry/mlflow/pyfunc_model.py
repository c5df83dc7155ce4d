"""The code of every registered prefix, run by MLflow and by nobody else: it is copied into the model's folder.

The base is not in the model: it is loaded from the place that the model's config names, or from the one that the
environment variable PREFIXFLEET_BASE names, and must have the digest in the manifest.
"""

import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from components.config import BaseConfig
from components.errors import BaseModelError

BASE_VARIABLE = "PREFIXFLEET_BASE"


class PrefixModel(PythonModel):  # type: ignore[misc]
    """Texts in, generated texts out."""

    def load_context(self, context: Any) -> None:
        """Load the base and the prefix, and check that they belong together.

        Raises:
            BaseModelError: no base at the place named, or another one.
            ArtifactError: the prefix's files do not hold together.
        """
        from components.model.base import load_base
        from components.registry.artifact import load_artifact

        config = dict(context.model_config)
        elsewhere = os.environ.get(BASE_VARIABLE)
        if elsewhere:
            config.update(path=elsewhere, revision=None)
        try:
            self._base = load_base(BaseConfig(**config))
            self._delta, self.manifest = load_artifact(Path(context.artifacts["manifest"]).parent, self._base)
        except BaseModelError as problem:
            fix = f"name the folder of the right base in the environment variable {BASE_VARIABLE}"
            raise BaseModelError(problem.wanted, problem.got, fix) from None

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[str]:
        """One text for every row.

        `params`: the fields of an evaluate section that decide what is generated, and batch_size (rows at a time).
        """
        from components.model.decoding import Decoding, generate_text

        chosen = dict(params or {})
        batch_size = int(chosen.pop("batch_size", 32))
        texts = [str(text) for text in model_input.iloc[:, 0]]
        cut = self.manifest.train.get("max_source_tokens")
        decoding = Decoding(**{**chosen, "banned": tuple(chosen.get("banned", ()))})
        return generate_text(self._base, self._delta, texts, decoding, batch_size, max_source_tokens=cut)


mlflow.models.set_model(PrefixModel())
