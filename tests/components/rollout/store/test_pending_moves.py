"""A pending move is saved whole, replaced by the tenant's next one, and deleted."""

from components.rollout.store.pending_moves import delete_pending_move, read_pending_move, save_pending_move
from components.rollout.types import LedgerEntry, RolloutState, ShareChange


def make_move(version):
    state = RolloutState(tenant="acme", champion="1", challenger=version, changes=(ShareChange(60, 0.1),), pinned=True)
    figures = {"checks": {"errors": {"challenger_bad": 4}}}
    at = "2026-01-01T00:00:00+00:00"
    return state, LedgerEntry(tenant="acme", by="ada", action="challenge", to_version=version, figures=figures, at=at)


def test_a_pending_move_is_read_as_it_was_saved_until_it_is_deleted(database):
    with database.transaction("a move") as connection:
        save_pending_move(connection, make_move("2"))
        save_pending_move(connection, make_move("3"))
    with database.transaction("the move") as connection:
        assert read_pending_move(connection, "acme") == make_move("3")
        assert read_pending_move(connection, "birch") is None
        delete_pending_move(connection, "acme")
        delete_pending_move(connection, "birch")
        assert read_pending_move(connection, "acme") is None
