import pytest


def test_a_call_waits_for_the_calls_before_it() -> None:
    from contenders.serving import compute_waits

    assert compute_waits([1.0, 2.0], 1, 4) == [1.0, 2.0, 1.0, 2.0]
    assert compute_waits([1.0, 2.0], 3, 5) == pytest.approx([1.0, 3.0, 4.0, 5.0, 4.0])


def test_a_call_has_requests_of_one_tenant_and_calls_are_of_several_tenants() -> None:
    from contenders.serving import LoadLevel, _choose_calls

    part = LoadLevel(tenants=3, requests_per_tenant=2, request_count=12)
    calls = [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    assert _choose_calls(part, 100, 2) == calls
    assert all(call in calls for call in _choose_calls(part, 4, 2))
    single = [
        number for (number,) in _choose_calls(LoadLevel(tenants=5, requests_per_tenant=1, request_count=20), 4, 1)
    ]
    assert len({number % 5 for number in single}) > 1
