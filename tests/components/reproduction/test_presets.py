"""The preset `paper` is the appendix of Li & Liang 2021."""

import pytest

from components.errors import ConfigError
from components.reproduction.presets import METHODS, Task, find_recipe

APPENDIX: dict[tuple[Task, str], tuple[float, int, int, int]] = {
    ("e2e", "prefix"): (8e-5, 5, 10, 5),
    ("webnlg", "prefix"): (5e-5, 5, 5, 5),
    ("dart", "prefix"): (5e-5, 10, 5, 10),
    ("summarisation", "prefix"): (5e-5, 30, 14, 100),
    ("e2e", "full"): (5e-5, 5, 10, 0),
    ("webnlg", "full"): (1e-5, 10, 6, 0),
    ("dart", "full"): (1e-5, 10, 6, 0),
    ("e2e", "top-2"): (5e-5, 5, 10, 0),
    ("webnlg", "top-2"): (5e-5, 10, 9, 0),
    ("dart", "top-2"): (5e-5, 5, 5, 0),
    ("e2e", "adapter-3"): (5e-5, 5, 5, 0),
    ("webnlg", "adapter-3"): (5e-5, 5, 5, 0),
    ("dart", "adapter-3"): (5e-5, 5, 5, 0),
    ("e2e", "adapter-0.1"): (8e-5, 10, 5, 0),
    ("webnlg", "adapter-0.1"): (5e-5, 10, 5, 0),
    ("dart", "adapter-0.1"): (8e-5, 5, 5, 0),
}


@pytest.mark.parametrize(("task", "method"), list(APPENDIX))
def test_the_paper_preset_is_the_appendix(task: Task, method: str) -> None:
    own = find_recipe("paper", task, method)
    assert (own.learning_rate, own.epochs, own.batch_size, own.prefix_length) == APPENDIX[task, method]
    assert own.weight_decay == 0
    assert own.warmup_steps == 0


def test_the_mlp_has_512_units_for_gpt2_and_800_for_bart() -> None:
    assert find_recipe("paper", "e2e", "prefix").mlp_hidden == find_recipe("paper", "dart", "prefix").mlp_hidden == 512
    assert find_recipe("paper", "summarisation", "prefix").mlp_hidden == 800


def test_only_gpt2s_prefix_sums_its_loss_over_a_sequence() -> None:
    assert find_recipe("paper", "e2e", "prefix").loss == "sequence-sum"
    assert find_recipe("paper", "summarisation", "prefix").loss == "token-mean"
    assert {find_recipe("paper", "webnlg", method).loss for method in ("full", "top-2", "adapter-3")} == {"token-mean"}


@pytest.mark.parametrize("preset", ["paper", "small"])
def test_every_method_of_the_tables_has_a_recipe(preset: str) -> None:
    trained = [name for name in METHODS if name not in ("in-context", "base")]
    for task in ("e2e", "webnlg", "dart"):
        for method in set(trained) - {"prefix-2", "prefix-0.1"}:
            assert find_recipe(preset, task, method).epochs
    for method in ("full", "prefix", "prefix-2", "prefix-0.1"):
        assert find_recipe(preset, "summarisation", method).epochs


def test_an_unknown_preset_and_a_missing_recipe_are_refused() -> None:
    with pytest.raises(ConfigError) as error:
        find_recipe("papers", "e2e", "full")
    assert error.value.fix == "did you mean 'paper'?"
    with pytest.raises(ConfigError) as error:
        find_recipe("paper", "summarisation", "lora")
    assert "full, prefix, prefix-2" in error.value.fix
