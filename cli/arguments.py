"""What several commands take: tenant ids, refused at the door where they are no DNS label, and the full check."""

from typing import Annotated, Any

import typer


def check_tenant(value: Any) -> Any:
    """One tenant id, several or none, each a DNS label. Raises DataError."""
    from components.data.schema import check_tenant_id

    for tenant in [value] if isinstance(value, str) else value or ():
        check_tenant_id(tenant)
    return value


TenantArgument = Annotated[str, typer.Argument(help="Tenant id.", callback=check_tenant)]
OwnerOption = Annotated[str, typer.Option("--tenant", help="Whose data this is; made if new.", callback=check_tenant)]
TenantsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tenant", help="Only this tenant; may be given more than once. Default: all.", callback=check_tenant
    ),
]
FullCheckOption = Annotated[
    bool, typer.Option("--full-check", help="Read every file again, also those whose times and size have not changed.")
]
