"""Arguments and options that several commands share: tenant ids, checked before anything runs, and --full-check."""

from typing import Annotated, Any

import typer


def check_tenant(value: Any) -> Any:
    """Return one tenant id, several or none, unchanged. Raises DataError if one is no DNS label."""
    from components.data.schema import check_tenant_id

    for tenant in [value] if isinstance(value, str) else value or ():
        check_tenant_id(tenant)
    return value


TenantArgument = Annotated[str, typer.Argument(help="Tenant id.", callback=check_tenant)]
OwnerOption = Annotated[
    str, typer.Option("--tenant", help="Tenant that the data belong to; a new one is created.", callback=check_tenant)
]
TenantsOption = Annotated[
    list[str] | None,
    typer.Option("--tenant", help="Only this tenant; may be repeated. Default: all tenants.", callback=check_tenant),
]
FullCheckOption = Annotated[
    bool, typer.Option("--full-check", help="Read every file again, even those with unchanged times and size.")
]
