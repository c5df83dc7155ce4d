import pytest

from components.config import TrainConfig
from components.fine_tuning.train_values import make_train_values

DEFAULT = TrainConfig(learning_rate=0.01, batch_size=16)
PRESENT = TrainConfig(learning_rate=0.5, batch_size=8)


@pytest.mark.parametrize(
    ("given", "seed", "values"),
    [
        ({}, None, {}),
        ({"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}, None, {}),
        ({"n_epochs": 3}, None, {"max_steps": 38}),
        ({"n_epochs": 3, "batch_size": 50}, None, {"batch_size": 50, "max_steps": 6}),
        ({"learning_rate_multiplier": 2.0}, 7, {"learning_rate": 0.02, "seed": 7}),
    ],
)
def test_hyperparameters_become_values_of_the_section_train(given, seed, values):
    request = {"hyperparameters": given, "seed": seed}
    assert make_train_values(request, PRESENT, DEFAULT, train_examples=100) == values
