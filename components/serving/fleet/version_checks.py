"""Refuses versions that cannot answer on this server: none with that number, unusable ones, those of another base."""

from collections.abc import Collection

from components.registry.mlflow.versions import BASE_TAG, Version
from components.serving.errors import RefusalError


def check_usable(version: Version | None) -> None:
    """Raise RefusalError (503) if there is a version, and it cannot answer."""
    if version is not None and version.fault:
        raise RefusalError(
            503,
            f"a version of {version.tenant} that can answer",
            f"version {version.version}: {version.fault}",
            "the operator must move its alias to another version (`prefixfleet promote`), or register it again",
            code="unusable_version",
        )


def is_on_other_base(version: Version, base_digest: str, interchangeable: Collection[str]) -> bool:
    """Return whether a version belongs to a base whose prefixes this one does not take.

    `interchangeable`: digests of the other bases that are as good. Not if one of the digests is "" (unknown).
    """
    own = version.tags.get(BASE_TAG, "")
    return bool(own and base_digest and own != base_digest and own not in interchangeable)


def check_base(version: Version, base_digest: str, interchangeable: Collection[str]) -> None:
    """Raise RefusalError (503) if `is_on_other_base`."""
    if is_on_other_base(version, base_digest, interchangeable):
        raise RefusalError(
            503,
            f"a version of {version.tenant} on this server's base {base_digest[:12]}",
            f"version {version.version} on base {version.tags[BASE_TAG][:12]}",
            "send the request to the server of that base: the fleet moves from one base to another, tenant by tenant",
            code="other_base",
        )


def require_version(version: Version | None, tenant: str, description: str) -> Version:
    """Return the version. Raises RefusalError (404): there is none."""
    if version is None:
        raise make_not_found_error(f"{tenant}: no {description}")
    return version


def make_not_found_error(got: str = "an unknown model, or one that your key does not grant") -> RefusalError:
    """Return a 404, the same for a model that does not exist and for another tenant's."""
    return RefusalError(404, "one of your models", got, "see GET /v1/models", code="model_not_found")
