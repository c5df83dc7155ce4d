"""What is said to work on an architecture is what docs/bases.md says of it."""

import re

import pytest
from architectures import ALL, HYBRIDS, INITIAL_STATES, PAIRS
from architectures_page import make_row
from tiny_models import build_model, make_base, make_letters

from components.stages.base_check.support import find_support

LETTERS = make_letters()


@pytest.mark.parametrize("kind", ALL)
def test_training_decoding_and_methods(kind: str) -> None:
    support = find_support(make_base(build_model(kind), LETTERS))
    assert f"| {support.training} | {support.decoding} |" in make_row(kind)
    assert (support.serving == "in blocks") == (support.decoding == "rows join and leave")
    missing = {"infix", "embedding"} if kind in PAIRS else {"embedding"} if kind == "gemma4_text" else set()
    assert support.missing_methods.keys() == missing
    assert all(support.missing_methods.values())
    if kind in INITIAL_STATES:
        assert support.initial_states.startswith(f"{' and '.join(INITIAL_STATES[kind])} states of ")
    else:
        reason = "ignores a given recurrent" if kind in HYBRIDS else "no layer keeps|an encoder-decoder"
        assert re.match(f"no: .*({reason})", support.initial_states)
