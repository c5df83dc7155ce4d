"""Which tenant a job is for: by the key, the model, the metadata and the suffix. Knows no request and no table."""

from collections.abc import Callable, Mapping

from components.data.schema import check_tenant_id
from components.errors import DataError

METADATA_KEY = "tenant"


def choose_tenant(
    model: str,
    suffix: str | None,
    metadata: Mapping[str, str],
    *,
    key_tenant: str | None,
    is_base: Callable[[str], bool],
    is_known: Callable[[str], bool],
) -> str:
    """Return the tenant of a job.

    `model` is the base, or a tenant (perhaps with `@version`). `metadata.tenant` names the tenant, else `model` does,
    else the key, else `suffix`. `key_tenant` is the tenant of the key; None: an admin key.

    Raises:
        DataError: no tenant is named, the name is no tenant id, the model is neither, or two of them disagree.
    """
    named = {"metadata.tenant": metadata.get(METADATA_KEY)}
    if not is_base(model):
        tenant = model.partition("@")[0]
        if not is_known(tenant) or key_tenant not in (None, tenant):
            wanted = "model: the base's name, or a tenant of your key"
            raise DataError(wanted, repr(model[:100]), "see GET /v1/models; a new tenant starts from the base")
        named["model"] = tenant
    named["the key"] = key_tenant
    if not any(named.values()):
        named["suffix"] = suffix
    given = {where: tenant for where, tenant in named.items() if tenant}
    if not given:
        got = "the base, an admin key, and neither metadata.tenant nor suffix"
        raise DataError("the name of the tenant", got, "set metadata.tenant or suffix")
    (first, tenant), *others = given.items()
    for where, other in others:
        if other != tenant:
            raise DataError("one tenant", f"{tenant!r} in {first}, {other!r} in {where}", "correct one of them")
    return check_tenant_id(tenant)
