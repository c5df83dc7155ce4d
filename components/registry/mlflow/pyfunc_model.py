"""The pyfunc code of a registered prefix. It is copied into the model's folder, and only MLflow runs it.

The model does not contain the base: it is loaded from the path in the model's config or in the environment variable
PREFIXFLEET_BASE, and must have the digest in the manifest.
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
        """Load the base and the prefix, and check that the prefix was trained on this base.

        Raises:
            BaseModelError: there is no base at the path, or it is another one.
            ArtifactError: the prefix's files fail a check.
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
            fix = f"set the environment variable {BASE_VARIABLE} to the folder of that base"
            raise BaseModelError(problem.wanted, problem.got, fix) from None

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[str]:
        """Return one text per row.

        `params`: the fields of an evaluate section that change what is generated, and batch_size (rows at a time).
        """
        from components.model.decoding import Decoding, generate_text

        chosen = dict(params or {})
        batch_size = int(chosen.pop("batch_size", 32))
        texts = [str(text) for text in model_input.iloc[:, 0]]
        cut = self.manifest.train.get("max_source_tokens")
        decoding = Decoding(**{**chosen, "banned": tuple(chosen.get("banned", ()))})
        return generate_text(self._base, self._delta, texts, decoding, batch_size, max_source_tokens=cut)


mlflow.models.set_model(PrefixModel())
