from pathlib import Path

import pytest
from torch import Tensor

from components.config import TrainConfig

CONFIG = TrainConfig(prefix_length=3, initialization="random")


def test_prefixfleet_and_peft_have_the_same_loss_and_gradient(shaped: Path) -> None:
    from contenders import gradient_agreement
    from harness.training_examples import draw_examples

    agreed = gradient_agreement.check_agreement(lambda: None, shaped, CONFIG, draw_examples(None, 4, numbers=True))
    assert agreed["losses"][0] == pytest.approx(agreed["losses"][1], abs=gradient_agreement.LOSS_TOLERANCE)
    assert agreed["gradient"] < gradient_agreement.GRADIENT_TOLERANCE
    assert agreed["targets"] == sum(
        len(example.references[0].split()) + 1 for example in draw_examples(None, 4, numbers=True)
    )


def test_a_wrong_order_of_the_prefixs_values_ends_the_benchmark(shaped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contenders import gradient_agreement
    from harness.training_examples import draw_examples

    def reverse_slots(values_L2HPD: Tensor) -> Tensor:
        return values_L2HPD.flip(2).permute(3, 0, 1, 2, 4).flatten(1)

    monkeypatch.setattr(gradient_agreement, "_to_peft_layout", reverse_slots)
    with pytest.raises(SystemExit, match="must compute the same"):
        gradient_agreement.check_agreement(lambda: None, shaped, CONFIG, draw_examples(None, 4, numbers=True))
