"""Lost versions, a bad version that stays and a good one that goes are found."""

from compressed_days import make_day, make_exchange, make_move, make_records


def test_a_gap_in_versions_and_a_champion_that_the_ledger_does_not_name_are_found() -> None:
    from compressed_day.version_promises import judge_versions

    first, second = make_move("promote", "", "1"), make_move("promote", "1", "2")
    assert judge_versions(make_day(), make_records(first), "").is_kept
    assert judge_versions(make_day(), make_records(first, second, champion="2", versions=("1", "2")), "").is_kept
    assert not judge_versions(make_day(), make_records(first), "line 3 was changed").is_kept
    assert not judge_versions(make_day(), make_records(first, champion="2", versions=("1", "2")), "").is_kept
    assert not judge_versions(make_day(), make_records(first, versions=("1", "3")), "").is_kept
    assert not judge_versions(make_day(changed=["tenant-00000"]), make_records(first), "").is_kept
    rejection = make_move("reject", "1", "1", "BLEU is below the champion's")
    assert judge_versions(make_day(changed=["tenant-00000"]), make_records(first, rejection), "").is_kept


def test_a_bad_version_must_have_been_tried_and_taken_back_for_its_feedback() -> None:
    from compressed_day.version_promises import judge_bad_version, judge_good_versions

    day, taken_back = make_day(make_exchange(version="2")), make_move("rollback", "2", "1", "feedback is worse")
    assert judge_bad_version(day, make_records(taken_back)).is_kept
    assert not judge_bad_version(make_day(), make_records(taken_back)).is_kept
    assert not judge_bad_version(day, make_records()).is_kept
    late = make_day(make_exchange(version="2", started_s=60.0))
    assert not judge_bad_version(late, make_records(taken_back)).is_kept
    assert not judge_bad_version(day, make_records(taken_back, champion="2", versions=("1", "2"))).is_kept
    assert judge_good_versions(day, make_records(taken_back)).is_kept
    assert not judge_good_versions(make_day(bad="another"), make_records(taken_back)).is_kept
