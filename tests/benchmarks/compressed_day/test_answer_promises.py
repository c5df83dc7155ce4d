"""Answers of a wrong tenant and lost requests are found, and what was promised to be lost is excused."""

import pytest
from compressed_days import make_day, make_exchange, make_records


@pytest.mark.parametrize(
    "wrong",
    [{"owner": "tenant-00004"}, {"version": "2"}, {"artifact": "b" * 64}, {"text": "cedar the lamp is red ."}],
    ids=str,
)
def test_an_answer_of_another_tenant_or_version_is_found(wrong: dict[str, str]) -> None:
    from compressed_day.answer_promises import judge_answers

    assert judge_answers(make_day(make_exchange()), make_records()).is_kept
    assert not judge_answers(make_day(make_exchange(), make_exchange(**wrong)), make_records()).is_kept


def test_only_requests_in_flight_at_a_killed_server_may_break_off() -> None:
    from compressed_day.answer_promises import judge_requests

    lost = make_exchange(problem="no whole answer")
    assert not judge_requests(make_day(lost)).is_kept
    assert judge_requests(make_day(lost, killed=[("server-1", 10.5, [lost])])).is_kept
    assert not judge_requests(make_day(lost, killed=[("server-1", 10.5, [])])).is_kept
    assert not judge_requests(make_day(lost, killed=[("server-1", 5.0, [lost])])).is_kept


def test_accepted_feedback_must_be_in_the_database() -> None:
    from compressed_day.answer_promises import judge_feedback

    day, records = make_day(), make_records()
    assert judge_feedback(day, records).is_kept
    day.traffic.feedback.append(("tenant-00000", "cmpl-1", True))
    assert not judge_feedback(day, records).is_kept
    day.traffic.feedback.clear()
    day.traffic.refused_feedback.append("404 forgotten with a killed server")
    assert judge_feedback(day, records).is_kept
    day.traffic.refused_feedback.append("500 a fault")
    assert not judge_feedback(day, records).is_kept
