"""Arguments and options of several commands: tenant ids, checked before anything runs, --full-check, settings."""

from pathlib import Path
from typing import Annotated, Any

import typer


def check_tenant(value: Any) -> Any:
    """Return one tenant id, several or none, unchanged. Raises DataError if one is no DNS label."""
    from components.data.schema import check_tenant_id

    for tenant in [value] if isinstance(value, str) else value or ():
        check_tenant_id(tenant)
    return value


def collect_settings(**options: Any) -> dict[str, Any]:
    """Return the options that were given as values of a section of params.yaml, in which a path is text."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


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
