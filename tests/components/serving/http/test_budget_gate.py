"""Requests of a tenant whose budget is spent are refused, by a state that is at most some seconds old."""

import asyncio
from contextlib import contextmanager
from datetime import date

import pytest

from components.config import Params
from components.errors import WorkspaceError
from components.rollout.store.usage import Usage, UsageKey, add_served
from components.serving.errors import RefusalError
from components.serving.http.budget_gate import FRESH_SECONDS, BudgetGate
from components.usage.periods import to_day

TODAY = date(2026, 11, 30)


class Parts:
    def __init__(self, database):
        self.database, self.now_s, self.today, self.batch = database, 0.0, TODAY, 0
        params = Params.model_validate(
            {
                "base": {"path": "base"},
                "prices": {"currency": "EUR", "thousand_requests": 1000},
                "budget": {"month": 2, "action": "throttle"},
                "tenants": {"calm": {"budget": {"action": "refuse"}}},
            }
        )
        self.gate = BudgetGate(database, params.for_tenant, lambda: self.now_s, lambda: self.today)

    def use(self, tenant, requests=2):
        self.batch += 1
        add_served(self.database, "one", self.batch, {UsageKey(tenant, to_day(self.today)): Usage(requests=requests)})

    def is_admitted(self, tenant="acme", at_once=1):
        async def ask():
            await asyncio.gather(*(self.gate.check(tenant) for _ in range(at_once)))

        try:
            asyncio.run(ask())
        except RefusalError as problem:
            return (problem.status, problem.code) != (429, "insufficient_quota")
        return True


@pytest.fixture
def parts(database):
    return Parts(database)


def test_a_spent_budget_refuses_once_the_state_is_read_again(parts):
    assert parts.is_admitted()
    parts.use("acme")
    assert parts.is_admitted()
    parts.now_s += FRESH_SECONDS
    assert not parts.is_admitted(at_once=3)
    parts.today = date(2026, 12, 1)
    assert parts.is_admitted()
    assert parts.is_admitted("birch")


def test_a_budget_that_only_refuses_trainings_lets_requests_in(parts):
    parts.use("calm")
    assert parts.is_admitted("calm")


def test_while_the_database_fails_the_last_state_counts(parts, monkeypatch):
    @contextmanager
    def fail(_):
        raise WorkspaceError("an answer", "none", "start it")
        yield

    parts.use("acme")
    assert not parts.is_admitted()
    monkeypatch.setattr(parts.database, "connect", fail)
    parts.now_s += FRESH_SECONDS
    assert not parts.is_admitted()
    assert parts.is_admitted("never-read")
    parts.gate.forget("acme")
    assert parts.is_admitted()
