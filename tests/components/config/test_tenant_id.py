"""The form of a tenant id."""

import pytest

from components.config.tenant_id import TENANT_ID


@pytest.mark.parametrize("text", ["a", "7", "alder", "a-b", "a--b", "0x1f", "a" * 63])
def test_dns_labels_are_tenant_ids(text: str) -> None:
    assert TENANT_ID.fullmatch(text)


@pytest.mark.parametrize("text", ["", "-", "-a", "a-", "A", "a_b", "a.b", "a/b", "../a", "a b", "ä", "a\n", "a" * 64])
def test_other_texts_are_not(text: str) -> None:
    assert not TENANT_ID.fullmatch(text)
