"""Finds versions and aliases of a fleet in MLflow in few calls.

Knows the name of a tenant's registered model. Only reads, and caches nothing: aliases in MLflow are authoritative.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from components.config import TENANT_ID
from components.data.kinds import CONVERSATIONS
from components.storage.json_text import parse_json

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
MODEL_NAME_START = "prefix-"
OWNER_TAG = "owner"
"""Tag of versions and runs: the id of the workspace, or the name of the fleet, that may change them."""
BASE_TAG = "base_digest"
"""Tag of versions: the digest of the base that the prefix belongs to."""
DECODING_TAG = "decoding"
"""Tag of versions: the decoding with which the version was judged, as JSON; the server answers with it."""
ARTIFACT_BYTES_TAG = "artifact_bytes"
"""Tag of versions: the size of the artifact's files."""
PREDICTIONS_TAG = "predictions"
"""Tag of versions: "removed" once the predictions of its run were removed."""
MADE_FROM_TAG = "made_from"
"""Tag of versions: the sha256 of the artifacts that it was made from, as JSON; "" or none: of no other."""
INPUT_TAG = "input"
"""Tag of versions: the kind of their training data; without it pairs."""
LORA_RANK_TAG = "lora_rank"
"""Tag of versions of method lora: the rank of their matrices."""
LORA_OUTSIDE_TAG = "lora_outside_blocks"
"""Tag of versions of method lora that change layers outside the base's blocks: these layers, with commas."""
AUTHOR_TAG = "registered_by"
"""Tag of versions: who registered it, where and when, for people."""

_DIGEST = re.compile("[0-9a-z]{1,64}")  # names a folder, so nothing but letters and digits

_MODELS_PER_PAGE = 1000  # MLflow's limit
_VERSIONS_PER_PAGE = 10_000
_MAX_SINGLE_CALLS = 4  # up to this many versions are read one by one instead of by a search over the fleet
_NAMES_PER_CALL = 32  # names of up to 70 characters in a URL of up to 4,094


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of one tenant's prefix; "" for values that MLflow does not have."""

    tenant: str
    version: str
    aliases: tuple[str, ...] = ()
    fingerprint: str = ""
    dataset_version: str = ""
    sha256: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    run_id: str = ""
    created_s: float = field(default=0.0, compare=False)
    """When it was registered, in seconds since 1970; 0: not read."""

    @property
    def owner(self) -> str:
        """The workspace or fleet that may change it; "": anyone (registered by hand, or by an earlier release)."""
        return self.tags.get(OWNER_TAG, "")

    @property
    def fault(self) -> str:
        """Why it can neither serve nor be compared, according to its tags; "": it can."""
        tenant = self.tags.get("tenant", self.tenant)
        if tenant != self.tenant:
            return (
                f"it was registered for {tenant}, and its model was renamed to {to_model_name(self.tenant)} in MLflow"
            )
        if not self.sha256:
            return "it was not registered by PrefixFleet (it has no tag sha256)"
        return "" if _DIGEST.fullmatch(self.sha256) else "its tag sha256 is no digest"

    @property
    def uri(self) -> str:
        """The URI for `mlflow.pyfunc.load_model`."""
        return f"models:/{to_model_name(self.tenant)}/{self.version}"


def read_made_from(version: Version) -> dict[str, str]:
    """Return how -> sha256 of the artifacts that a version was made from, such as its shared prefix."""
    try:
        found = parse_json(version.tags.get(MADE_FROM_TAG) or "{}")
    except ValueError:  # changed in MLflow by hand
        return {}
    return {str(how): str(sha256) for how, sha256 in found.items()} if isinstance(found, dict) else {}


def reads_conversations(version: Version) -> bool:
    """Return whether a version was trained on conversations, not on pairs of source and target."""
    return version.tags.get(INPUT_TAG) == CONVERSATIONS


def to_model_name(tenant: str) -> str:
    """Return the name of a tenant's registered model."""
    return f"{MODEL_NAME_START}{tenant}"


def to_tenant(name: str) -> str | None:
    """Return the tenant of a registered model; None for a model that is not of this project."""
    tenant = name.removeprefix(MODEL_NAME_START)
    return tenant if tenant != name and TENANT_ID.fullmatch(tenant) else None


def to_version(tenant: str, entity: Any, aliases: Iterable[str]) -> Version:
    """Convert MLflow's ModelVersion, whose own `aliases` are empty after a search."""
    tags = {str(key): str(value) for key, value in entity.tags.items()}
    return Version(
        tenant=tenant,
        version=str(entity.version),
        aliases=tuple(sorted(aliases)),
        fingerprint=tags.get("fingerprint", ""),
        dataset_version=tags.get("dataset_version", ""),
        sha256=tags.get("sha256", ""),
        tags=tags,
        run_id=entity.run_id or "",
        created_s=(entity.creation_timestamp or 0) / 1000,
    )


def find_aliased(client: Any, *aliases: str) -> dict[str, dict[str, Version]]:
    """Return alias -> tenant -> version, in one call per thousand tenants and few more.

    A search for models returns their aliases and newest versions. Only aliases on older versions (after a rollback, or
    a champion during a trial) need further calls, which search by version number.
    """
    models = [model for model in _search_models(client) if any(alias in model.aliases for alias in aliases)]
    entities: dict[tuple[str, str], Any] = {}
    older: dict[str, set[str]] = {}
    for model in models:
        known = {str(entity.version): entity for entity in model.latest_versions}
        for number in {str(model.aliases[alias]) for alias in aliases if alias in model.aliases}:
            if number in known:
                entities[model.name, number] = known[number]
            else:
                older.setdefault(number, set()).add(model.name)
    for number, names in older.items():
        entities.update({(name, number): entity for name, entity in _find_by_number(client, number, names).items()})
    versions: dict[str, dict[str, Version]] = {alias: {} for alias in aliases}
    for model in models:
        tenant = to_tenant(model.name)
        for alias in aliases:
            entity = entities.get((model.name, str(model.aliases.get(alias))))
            if tenant and entity:
                versions[alias][tenant] = to_version(tenant, entity, _list_aliases(model, entity.version))
    return versions


def find_by_sha256(client: Any, sha256s: Mapping[str, str]) -> dict[str, Version]:
    """Return tenant -> its newest version whose prefix has the tenant's value in `sha256s`, where there is one.

    One call per thousand tenants, and one per 32 tenants whose newest version does not match.
    """
    models = {
        tenant: model for model in _search_models(client) if (tenant := to_tenant(model.name)) in sha256s and tenant
    }
    newest = [entity for model in models.values() for entity in model.latest_versions]
    versions = _match_sha256s(newest, models, sha256s)
    left = [model.name for tenant, model in models.items() if tenant not in versions]
    return versions | _match_sha256s(_search_versions_of_models(client, left), models, sha256s)


def find_sha256s(client: Any, tenants: Iterable[str]) -> dict[str, set[str]]:
    """Return tenant -> sha256s of its versions, without tenants that have none; one call per 32 tenants."""
    sha256s: dict[str, set[str]] = {}
    for entity in _search_versions_of_models(client, [to_model_name(tenant) for tenant in tenants]):
        sha256s.setdefault(entity.name.removeprefix(MODEL_NAME_START), set()).add(entity.tags.get("sha256", ""))
    return sha256s


def find_by_alias(client: Any, tenant: str, alias: str) -> Version | None:
    """Return the version with `alias`, or None; one call."""
    entity = call_or_none(client.get_model_version_by_alias, to_model_name(tenant), alias)
    return None if entity is None else to_version(tenant, entity, {*entity.aliases, alias})


def find_aliases(client: Any, tenant: str) -> dict[str, str]:
    """Return alias -> version number, in one call; none for an unknown tenant."""
    model = call_or_none(client.get_registered_model, to_model_name(tenant))
    return {} if model is None else {alias: str(number) for alias, number in model.aliases.items()}


def find_aliased_of_tenant(client: Any, tenant: str) -> list[Version]:
    """Return the tenant's champion and challenger, if they exist; one call, and one per alias on an older version."""
    model = call_or_none(client.get_registered_model, to_model_name(tenant))
    if model is None:
        return []
    known = {str(entity.version): entity for entity in model.latest_versions}
    numbers = {str(model.aliases[alias]) for alias in (CHAMPION, CHALLENGER) if alias in model.aliases}
    found = [known.get(number) or call_or_none(client.get_model_version, model.name, number) for number in numbers]
    versions = [to_version(tenant, entity, _list_aliases(model, entity.version)) for entity in found if entity]
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def find_versions(client: Any, tenant: str) -> list[Version]:
    """Return all versions of a tenant, newest first; none for an unknown tenant."""
    model = call_or_none(client.get_registered_model, to_model_name(tenant))
    if model is None:
        return []
    entities = _search_versions(client, f"name = '{model.name}'")
    versions = [to_version(tenant, entity, _list_aliases(model, entity.version)) for entity in entities]
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def find_histories(client: Any, *tags: str) -> dict[str, list[Version]]:
    """Return tenant -> all its versions, oldest first, with only these tags; one call per 10,000 versions."""
    histories: dict[str, list[Version]] = {}
    for entity in _search_versions(client, f"name LIKE '{MODEL_NAME_START}%'"):
        if tenant := to_tenant(entity.name):
            kept = {str(name): str(value) for name, value in entity.tags.items() if name in tags}
            version = Version(
                tenant,
                str(entity.version),
                sha256=kept.get("sha256", ""),
                tags=kept,
                run_id=entity.run_id or "",
                created_s=(entity.creation_timestamp or 0) / 1000,
            )
            histories.setdefault(tenant, []).append(version)
    return {tenant: sorted(own, key=lambda one: int(one.version)) for tenant, own in histories.items()}


def call_or_none(call: Callable[..., Any], *args: Any) -> Any:
    """Return the call's result, or None if MLflow has no such model, version or alias."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*args)
    except MlflowException as problem:
        absent = problem.error_code == "RESOURCE_DOES_NOT_EXIST" or "alias" in str(problem).lower()
        if absent and problem.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _search_models(client: Any) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_registered_models(
            f"name LIKE '{MODEL_NAME_START}%'", max_results=_MODELS_PER_PAGE, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _search_versions(client: Any, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(condition, max_results=_VERSIONS_PER_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _search_versions_of_models(client: Any, models: Sequence[str]) -> Iterator[Any]:
    """Yield all versions of these models."""
    for start in range(0, len(models), _NAMES_PER_CALL):
        names = ", ".join(f"'{name}'" for name in models[start : start + _NAMES_PER_CALL])
        yield from _search_versions(client, f"name IN ({names})")


def _match_sha256s(
    entities: Iterable[Any], models: Mapping[str, Any], sha256s: Mapping[str, str]
) -> dict[str, Version]:
    versions: dict[str, Version] = {}
    for entity in entities:
        tenant = to_tenant(entity.name)
        if tenant is None or entity.tags.get("sha256") != sha256s[tenant]:
            continue
        if tenant not in versions or int(entity.version) > int(versions[tenant].version):
            versions[tenant] = to_version(tenant, entity, _list_aliases(models[tenant], entity.version))
    return versions


def _find_by_number(client: Any, number: str, names: Collection[str]) -> dict[str, Any]:
    if len(names) <= _MAX_SINGLE_CALLS:
        return {name: entity for name in names if (entity := call_or_none(client.get_model_version, name, number))}
    condition = f"name LIKE '{MODEL_NAME_START}%' AND version_number = {number}"
    return {entity.name: entity for entity in _search_versions(client, condition) if entity.name in names}


def _list_aliases(model: Any, number: Any) -> list[str]:
    return [alias for alias, other in model.aliases.items() if str(other) == str(number)]
