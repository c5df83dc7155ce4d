from typing import Any

import pytest

from components.model.decoding import DecodeRequest
from components.model.delta import Delta
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.engine.sequence import EngineSequence
from components.serving.interface import ArtifactRef, GenerationRequest


def make_sequence(guidance: float = 1.0, *, infix: bool = False) -> EngineSequence:
    request = GenerationRequest(ArtifactRef("alder", "1", "0" * 64), "x", guidance=guidance)
    unused: Any = None
    decode_request = DecodeRequest(Delta(), [5, 6, 7, 8], [6, 7], 2)
    sequence = EngineSequence(request, unused, decode_request, unused, IncrementalDetokenizer(lambda ids: ""), unused)
    sequence.create_branches(None, infix)
    return sequence


def plan(sequence: EngineSequence, budget: int) -> list[tuple[list[int], int, bool]]:
    return [(branch.pending_ids, count, needs) for branch, count, needs in sequence.plan_reads(budget)]


@pytest.mark.parametrize(
    ("guidance", "sources"), [(1.0, [[5, 6, 7, 8]]), (0.0, [[6, 7]]), (1.5, [[5, 6, 7, 8], [6, 7]])]
)
def test_guidance_decides_which_branches_there_are(guidance: float, sources: list[list[int]]) -> None:
    sequence = make_sequence(guidance)
    assert [branch.pending_ids for branch in sequence.branches] == sources
    assert sequence.branch_count == len(sources)


def test_a_source_is_read_in_pieces_and_its_logits_are_needed_at_the_end() -> None:
    sequence = make_sequence()
    assert plan(sequence, 3) == [([5, 6, 7, 8], 3, False)]
    assert plan(sequence, 4) == [([5, 6, 7, 8], 4, True)]
    assert plan(sequence, 0) == [([5, 6, 7, 8], 1, False)], "a row never waits forever"


def test_both_branches_of_a_guided_row_read_their_last_tokens_in_one_step() -> None:
    sequence = make_sequence(1.5)
    assert plan(sequence, 10) == [([5, 6, 7, 8], 3, False), ([6, 7], 1, False)]
    for branch in sequence.branches:
        del branch.pending_ids[:-1]
    assert plan(sequence, 10) == [([8], 1, True), ([7], 1, True)]


def test_the_last_token_after_an_infix_is_read_in_a_step_of_its_own() -> None:
    sequence = make_sequence(infix=True)
    assert plan(sequence, 10) == [([5, 6, 7, 8], 3, False)]


def test_the_last_token_is_the_one_that_reaches_the_limit() -> None:
    sequence = make_sequence()
    assert not sequence.is_last_token
    sequence.detokenizer.token_ids.append(9)
    assert sequence.is_last_token
