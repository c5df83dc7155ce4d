import pytest

from components.errors import DataError
from components.fine_tuning.tenant_choice import choose_tenant


def choose(model="base", suffix=None, key=None, **metadata):
    return choose_tenant(
        model,
        suffix,
        metadata,
        key_tenant=key,
        is_base=lambda name: name == "base",
        is_known=lambda name: name in ("alder", "birch"),
    )


@pytest.mark.parametrize(
    ("given", "tenant"),
    [
        ({"suffix": "cedar"}, "cedar"),
        ({"tenant": "cedar", "suffix": "my words"}, "cedar"),
        ({"model": "alder"}, "alder"),
        ({"model": "alder@3", "suffix": "new"}, "alder"),
        ({"key": "alder", "suffix": "new"}, "alder"),
        ({"key": "alder", "model": "alder", "tenant": "alder"}, "alder"),
    ],
)
def test_the_tenant_is_named_by_metadata_model_key_or_suffix(given, tenant):
    assert choose(**given) == tenant


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "set metadata.tenant or suffix"),
        ({"model": "gpt-4o-mini"}, "'gpt-4o-mini'"),
        ({"model": "birch", "key": "alder"}, "a tenant of your key"),
        ({"tenant": "birch", "key": "alder"}, "'birch' in metadata.tenant, 'alder' in the key"),
        ({"model": "alder", "tenant": "birch"}, "in model"),
        ({"suffix": "No Label"}, "DNS label"),
    ],
)
def test_no_tenant_or_two_are_refused(given, words):
    with pytest.raises(DataError, match=words):
        choose(**given)
