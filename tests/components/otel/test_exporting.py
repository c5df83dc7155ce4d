"""What names a process in all that it sends."""

import pytest

from components.otel import exporting


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    exporting.make_resource.cache_clear()
    monkeypatch.setattr(exporting, "_service", [])
    yield
    exporting.make_resource.cache_clear()


@pytest.mark.parametrize(
    ("variables", "name", "expected"),
    [
        ({}, None, "prefixfleet"),
        ({}, "prefixfleet-server", "prefixfleet-server"),
        ({"OTEL_SERVICE_NAME": "mine"}, "prefixfleet-server", "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine,a=b"}, "prefixfleet-server", "mine"),
    ],
)
def test_the_service_is_named_by_the_process_unless_the_user_names_it(monkeypatch, variables, name, expected):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    if name:
        exporting.name_service(name)
    attributes = exporting.make_resource().attributes
    assert attributes["service.name"] == expected
    assert attributes["service.version"]
    assert attributes.get("a") == ("b" if "OTEL_RESOURCE_ATTRIBUTES" in variables else None)
