"""From the hyperparameters of OpenAI's API to values of the section `train`. Knows no request."""

import math
from collections.abc import Mapping
from typing import Any, Final

from components.config import TrainConfig

AUTO: Final = "auto"
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


def make_train_values(
    request: Mapping[str, Any], present: TrainConfig, default: TrainConfig, train_examples: int
) -> dict[str, Any]:
    """Return the values of `train` that a job sets; those that are `auto` stay as they are for the tenant.

    `present` is what the tenant is trained with now; `default` is without its override file: the learning rate is
    multiplied from there, so that a repeated job does not multiply it again. `train_examples`: of its train split.
    """
    given = {name: value for name, value in request["hyperparameters"].items() if value != AUTO}
    values: dict[str, Any] = {}
    if "batch_size" in given:
        values["batch_size"] = given["batch_size"]
    if "learning_rate_multiplier" in given:
        values["learning_rate"] = default.learning_rate * given["learning_rate_multiplier"]
    if "n_epochs" in given:
        batch_size = values.get("batch_size", present.batch_size)
        values["max_steps"] = math.ceil(train_examples * given["n_epochs"] / batch_size)
    if request.get("seed") is not None:
        values["seed"] = request["seed"]
    return values
