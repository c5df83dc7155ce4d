"""Errors of the plugin as errors of the tenant's version, of the store or of the moment."""

import pytest

from components.errors import ArtifactError, BaseModelError, RegistryError
from components.serving.errors import UnsupportedArtifactError, to_refusal
from components.serving.interface import BusyError
from components.serving.remote.server_errors import ServerDownError, read_error, read_load_error


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("artifact", ArtifactError, 503),
        ("base", BaseModelError, 503),
        ("store", RegistryError, 503),
        ("memory", BusyError, 429),
        ("setup", UnsupportedArtifactError, 503),
        ("of a later plugin", ArtifactError, 503),
    ],
)
def test_a_failed_load_is_an_error_of_its_kind(kind: str, error: type[Exception], status: int) -> None:
    problem = read_load_error(kind, "why")
    assert isinstance(problem, error)
    assert "why" in str(problem)
    assert to_refusal(problem).status == status


def test_an_error_of_vllm_keeps_its_message() -> None:
    assert to_refusal(read_error({"message": "max_tokens is too large", "code": 400})).status == 400
    assert to_refusal(read_error({"message": "boom", "code": 500})).status == 502
    assert "boom" in str(read_error("boom"))
    assert to_refusal(ServerDownError("no route")).retry_after
