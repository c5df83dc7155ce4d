"""Reading the registry: `Version`, and how a fleet's versions and aliases are found in few calls.

Knows how a tenant's prefix is called in MLflow. Changes nothing there, and remembers nothing: the alias in MLflow is
the truth, so every call reads it anew.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from components.config import TENANT_ID

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
MODEL_NAME_START = "prefix-"

_MODELS_PER_PAGE = 1000  # MLflow's limit
_VERSIONS_PER_PAGE = 10_000
_MAX_SINGLE_CALLS = 4  # versions worth a call each, rather than one search over the fleet
_NAMES_PER_CALL = 32  # of at most 70 characters, in an address that servers take up to 4,094 of


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of one tenant's prefix; what MLflow does not hold is an empty string."""

    tenant: str
    version: str
    aliases: tuple[str, ...] = ()
    fingerprint: str = ""
    dataset_version: str = ""
    sha256: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    run_id: str = ""

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{to_model_name(self.tenant)}/{self.version}"


def to_model_name(tenant: str) -> str:
    """The name of a tenant's registered model."""
    return f"{MODEL_NAME_START}{tenant}"


def to_tenant(name: str) -> str | None:
    """The tenant that a registered model belongs to; None for other people's models."""
    tenant = name.removeprefix(MODEL_NAME_START)
    return tenant if tenant != name and TENANT_ID.fullmatch(tenant) else None


def to_version(tenant: str, entity: Any, aliases: Iterable[str]) -> Version:
    """MLflow's ModelVersion in our words; its own `aliases` are empty after a search, so they are handed in."""
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
    )


def find_aliased(client: Any, *aliases: str) -> dict[str, dict[str, Version]]:
    """Alias -> tenant -> the version that bears it: a call a thousand tenants, and few more.

    A search for models brings each one's aliases and newest version, so only an alias on an older version (after a
    rollback, or a champion while its challenger is on trial) needs more: these are sought by version number.
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
    found: dict[str, dict[str, Version]] = {alias: {} for alias in aliases}
    for model in models:
        tenant = to_tenant(model.name)
        for alias in aliases:
            entity = entities.get((model.name, str(model.aliases.get(alias))))
            if tenant and entity:
                found[alias][tenant] = to_version(tenant, entity, _list_aliases(model, entity.version))
    return found


def find_by_sha256(client: Any, sha256s: Mapping[str, str]) -> dict[str, Version]:
    """Tenant -> its newest version that holds the prefix with the sha256 handed in for it, where there is one.

    Most are the newest version that there is: a call a thousand tenants. The others cost a call 32 of them.
    """
    models = {
        tenant: model for model in _search_models(client) if (tenant := to_tenant(model.name)) in sha256s and tenant
    }
    newest = [entity for model in models.values() for entity in model.latest_versions]
    found = _match_sha256s(newest, models, sha256s)
    left = [model.name for tenant, model in models.items() if tenant not in found]
    return found | _match_sha256s(_search_versions_of_models(client, left), models, sha256s)


def find_sha256s(client: Any, tenants: Iterable[str]) -> dict[str, set[str]]:
    """Tenant -> the sha256s of its versions, for those that have any: a call 32 tenants."""
    found: dict[str, set[str]] = {}
    for entity in _search_versions_of_models(client, [to_model_name(tenant) for tenant in tenants]):
        found.setdefault(entity.name.removeprefix(MODEL_NAME_START), set()).add(entity.tags.get("sha256", ""))
    return found


def find_by_alias(client: Any, tenant: str, alias: str) -> Version | None:
    """The version that bears `alias`, in one call."""
    entity = call_or_none(client.get_model_version_by_alias, to_model_name(tenant), alias)
    return None if entity is None else to_version(tenant, entity, {*entity.aliases, alias})


def find_aliases(client: Any, tenant: str) -> dict[str, str]:
    """Alias -> the number of the version that bears it, in one call; none for an unknown tenant."""
    model = call_or_none(client.get_registered_model, to_model_name(tenant))
    return {} if model is None else {alias: str(number) for alias, number in model.aliases.items()}


def find_versions(client: Any, tenant: str) -> list[Version]:
    """All versions of a tenant, the newest first; none for an unknown tenant."""
    model = call_or_none(client.get_registered_model, to_model_name(tenant))
    if model is None:
        return []
    entities = _search_versions(client, f"name = '{model.name}'")
    versions = [to_version(tenant, entity, _list_aliases(model, entity.version)) for entity in entities]
    return sorted(versions, key=lambda version: int(version.version), reverse=True)


def call_or_none(call: Callable[..., Any], *args: Any) -> Any:
    """What the call returns, or None where MLflow has no such model, version or alias."""
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
    """All versions of these models."""
    for start in range(0, len(models), _NAMES_PER_CALL):
        names = ", ".join(f"'{name}'" for name in models[start : start + _NAMES_PER_CALL])
        yield from _search_versions(client, f"name IN ({names})")


def _match_sha256s(
    entities: Iterable[Any], models: Mapping[str, Any], sha256s: Mapping[str, str]
) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for entity in entities:
        tenant = to_tenant(entity.name)
        if tenant is None or entity.tags.get("sha256") != sha256s[tenant]:
            continue
        if tenant not in found or int(entity.version) > int(found[tenant].version):
            found[tenant] = to_version(tenant, entity, _list_aliases(models[tenant], entity.version))
    return found


def _find_by_number(client: Any, number: str, names: Collection[str]) -> dict[str, Any]:
    if len(names) <= _MAX_SINGLE_CALLS:
        return {name: entity for name in names if (entity := call_or_none(client.get_model_version, name, number))}
    condition = f"name LIKE '{MODEL_NAME_START}%' AND version_number = {number}"
    return {entity.name: entity for entity in _search_versions(client, condition) if entity.name in names}


def _list_aliases(model: Any, number: Any) -> list[str]:
    return [alias for alias, other in model.aliases.items() if str(other) == str(number)]
