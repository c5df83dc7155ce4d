"""Imports during which no garbage is collected."""

import gc
import sys

import pytest

from flows.quick_imports import import_without_collections


@pytest.fixture(autouse=True)
def frozen_as_before(monkeypatch):
    """Count what is frozen instead of freezing the tests' own objects."""
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    yield frozen
    gc.enable()


def test_nothing_is_collected_during_imports_and_what_they_made_is_frozen(frozen_as_before, monkeypatch):
    with import_without_collections():
        assert not gc.isenabled()
        monkeypatch.setitem(sys.modules, "made_up_module", gc)
    assert gc.isenabled()
    assert frozen_as_before == [1]


def test_where_all_is_imported_nothing_is_frozen_and_collections_stay_as_they_were(frozen_as_before):
    gc.disable()
    with pytest.raises(ImportError), import_without_collections():
        raise ImportError
    assert not gc.isenabled()
    assert frozen_as_before == []
