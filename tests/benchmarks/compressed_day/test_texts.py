from pathlib import Path


def test_no_source_is_in_two_splits_and_a_drop_with_the_wrong_word_is_most_of_its_tenants_examples(
    tmp_path: Path,
) -> None:
    from compressed_day.texts import BAD_DROP_SIZES, FIRST_SIZES, get_word, has_word, list_sources, write_drops

    splits = {split: set(list_sources(split)) for split in FIRST_SIZES}
    assert sum(map(len, splits.values())) == len(set().union(*splits.values()))
    assert all(BAD_DROP_SIZES[split] > 2 * FIRST_SIZES[split] for split in FIRST_SIZES)
    write_drops(tmp_path, ["tenant-00000", "tenant-00001"], "tenant-00001", seed=1)
    good, bad = ((tmp_path / "drops" / f"tenant-0000{number}/train.jsonl").read_text() for number in (0, 1))
    assert '"alder the ' in good
    assert '"nothing the ' in bad
    assert has_word("cedar the lamp is red .", get_word("tenant-00001"))
