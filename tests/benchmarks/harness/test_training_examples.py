from pathlib import Path
from statistics import mean


def test_random_texts_have_the_recorded_lengths(shaped: Path) -> None:
    from harness.training_examples import E2E_LENGTHS, count_tokens, draw_examples

    made = draw_examples(None, 2 * len(E2E_LENGTHS), numbers=True)
    assert sorted(count_tokens(shaped, made)) == sorted(2 * E2E_LENGTHS)
    assert draw_examples(None, 10, numbers=True) == draw_examples(None, 10, numbers=True)


def test_an_epoch_has_even_batches_from_all_lengths() -> None:
    from harness.training_examples import choose_epoch_indices

    lengths = [(length, length % 7) for length in range(100, 0, -1)]
    indices = choose_epoch_indices(lengths, steps=5, batch_size=4)
    assert len(set(indices)) == 20
    batches = [[sum(lengths[index]) for index in indices[start : start + 4]] for start in range(0, 20, 4)]
    assert all(max(batch) - min(batch) <= 8 for batch in batches)
    everything = mean(map(sum, lengths))
    assert abs(mean(length for batch in batches for length in batch) - everything) < 0.05 * everything
