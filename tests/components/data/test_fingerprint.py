from components.config import TrainConfig
from components.data.fingerprint import compute_fingerprint


def test_the_fingerprint_is_the_same_in_every_release() -> None:
    got = compute_fingerprint(data_digest="d", train=TrainConfig(seed=1), base_digest="b", artifact_schema=1)
    assert got == "687bb044f9ea5a2f1607660930a3e2398926c509c4aefb9539d6a333d6b540d5"


def test_a_free_first_slot_changes_no_fingerprint_of_an_earlier_release() -> None:
    values = TrainConfig(seed=1, first_slot="free")
    got = compute_fingerprint(data_digest="d", train=values, base_digest="b", artifact_schema=1)
    assert got == "687bb044f9ea5a2f1607660930a3e2398926c509c4aefb9539d6a333d6b540d5"


def test_each_input_changes_the_fingerprint() -> None:
    def of(data: str = "d", base: str = "b", schema: int = 1, **train: object) -> str:
        config = TrainConfig.model_validate(train)
        return compute_fingerprint(data_digest=data, train=config, base_digest=base, artifact_schema=schema)

    changed = {
        of(),
        of(data="e"),
        of(base="c"),
        of(schema=2),
        of(prefix_length=9),
        of(learning_rate=1e-3),
        of(init_text="x"),
        of(max_source_tokens=3),
        of(seed=1),
        of(patience=3),
        of(first_slot="bos"),
    }
    assert len(changed) == 11
