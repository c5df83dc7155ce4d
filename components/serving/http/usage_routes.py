"""The route of usage: what the caller's tenant used, or with a role all tenants. Knows HTTP and the reports."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from components.config import TENANT_ID
from components.config.problems import make_unknown_key_error
from components.serving.errors import ErrorBody, RefusalError
from components.serving.http.api_route import ApiRoute
from components.serving.http.dependencies import CallerDependency, ServiceDependency
from components.serving.http.paging import MAX_PAGE, take_page
from components.usage.periods import get_today, make_period
from components.usage.report import Grouping, UsageRow, read_page, read_report

USAGE_PATH = "/v1/usage"
_PARAMETERS = ("tenant", "since", "until", "by", "after", "limit")

router = APIRouter(
    route_class=ApiRoute,
    tags=["PrefixFleet"],
    responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}},
)


class UsageItem(BaseModel):
    """One tenant's usage in one period."""

    id: str
    tenant: str
    period: str
    requests: int
    input_tokens: int
    output_tokens: int
    serving_device_seconds: float
    training_tokens: int
    training_device_seconds: float
    stored_bytes: int
    stored_gb_months: float
    cost: str | None = None
    """A decimal number."""
    currency: str | None = None


class UsageList(BaseModel):
    """A page of usage; `after` of the next one is `last_id`."""

    object: str = "list"
    data: list[UsageItem]
    has_more: bool
    last_id: str | None


@router.get(USAGE_PATH, response_model=UsageList, response_model_exclude_none=True)
async def usage(
    request: Request,
    caller: CallerDependency,
    service: ServiceDependency,
    tenant: str | None = None,
    since: date | None = None,
    until: date | None = None,
    by: Grouping = "tenant",
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1000,
) -> UsageList:
    """Return requests, tokens, device seconds, stored bytes and cost; by default of this month (UTC), by tenant.

    A tenant's key sees its own tenant, one with a role all. `by`: a row for each of a tenant's days or months, or one.
    """
    for name in request.query_params:
        if name not in _PARAMETERS:
            unknown = make_unknown_key_error(name[:100], _PARAMETERS, "the query")
            raise RefusalError(400, unknown.wanted, unknown.got, unknown.fix, code="unknown_parameter")
    if tenant is not None and (caller.tenant not in (None, tenant) or not TENANT_ID.fullmatch(tenant)):
        raise RefusalError(404, "tenant: one that your key grants", repr(tenant[:100]), "see GET /v1/models")
    chosen = tenant or caller.tenant
    period = make_period(since, until, get_today())
    sources = service.database, period, by, service.get_tenant_params

    def read() -> list[UsageRow]:
        if chosen is not None:
            return read_report(*sources, [chosen])
        first = (after or "").partition("/")[0]
        return read_page(*sources, first, limit + 1)  # one more tells whether there is more

    rows = await service.usage_pool.run(read, caller.tenant or "")
    page, has_more = take_page(rows, lambda row: row.id, after, limit)
    data: list[Any] = [{"id": row.id, **row.to_json()} for row in page]
    return UsageList(data=data, has_more=has_more, last_id=page[-1].id if page else None)
