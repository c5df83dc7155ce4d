"""At a limit the connection that has waited longest makes room; connections that are being answered never do."""

from dataclasses import dataclass

import pytest

from components.serving.http.connection_table import ConnectionTable, limit_by_open_files, to_group


@dataclass(eq=False)
class OpenConnection:
    group: str
    waiting_since_s: float | None
    aborted: bool = False

    def abort(self):
        self.aborted = True

    def enforce_deadlines(self, now_s):
        raise AssertionError(now_s)


def make_table(*connections, total=10, per_address=10):
    table = ConnectionTable(total, per_address)
    for one in connections:
        table.add(one)
    return table


def test_below_the_limits_nothing_is_closed():
    one = OpenConnection("a", 1.0)
    assert make_table(one, total=2, per_address=2).make_room("a") == ""
    assert not one.aborted


def test_at_the_limit_of_all_the_longest_waiting_connection_is_closed():
    answered, old, new = OpenConnection("a", None), OpenConnection("b", 1.0), OpenConnection("c", 2.0)
    table = make_table(answered, old, new, total=3)
    assert table.make_room("d") == ""
    assert [one.aborted for one in (answered, old, new)] == [False, True, False]
    assert len(table) == 2


def test_at_the_limit_of_an_address_only_its_own_connections_are_closed():
    other, own = OpenConnection("a", 1.0), OpenConnection("b", 2.0)
    table = make_table(other, own, per_address=1)
    assert table.make_room("b") == ""
    assert (other.aborted, own.aborted) == (False, True)


def test_without_a_waiting_connection_the_reached_setting_is_named():
    assert make_table(OpenConnection("a", None), per_address=1).make_room("a") == "serve.max_connections_per_address"
    assert make_table(OpenConnection("a", None), total=1).make_room("b") == "serve.max_connections"


def test_a_connection_that_ended_is_not_counted_even_if_it_is_removed_twice():
    one = OpenConnection("a", None)
    table = make_table(one, total=1, per_address=1)
    table.remove(one)
    table.remove(one)
    assert (table.make_room("a"), len(table)) == ("", 0)


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address, group):
    assert to_group(address) == group


def test_half_of_the_open_files_stay_for_other_uses(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _kind: (46, 46))
    assert (limit_by_open_files(512), limit_by_open_files(5)) == (23, 5)
    monkeypatch.setattr("resource.getrlimit", lambda _kind: (-1, -1))
    assert limit_by_open_files(512) == 512
