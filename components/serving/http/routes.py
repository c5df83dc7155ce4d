"""The routes for callers: completions, models, feedback. Thin: each finds the caller and hands on.

Knows HTTP and the service; what is answered is made by the parts.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from components.rollout.store.feedback import give
from components.serving.errors import ErrorBody, error_body, note, refusal_of
from components.serving.http.auth import Caller
from components.serving.http.completions import Run, prepare
from components.serving.http.openai import (
    Completion,
    CompletionRequest,
    FeedbackAnswer,
    FeedbackRequest,
    Model,
    ModelList,
)
from components.serving.http.service import Service

LEFT = 499
"""What is counted where the caller has left; nobody is told."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")
_Result = TypeVar("_Result")

router = APIRouter(responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}})


def service_of(request: Request) -> Service:
    """The server's parts."""
    service: Service = request.app.state.service
    return service


async def caller_of(request: Request, authorization: Annotated[str | None, Header()] = None) -> Caller:
    """Who asks. Raises RefusalError: 401, 503."""
    return await service_of(request).door.caller(authorization)


def sent_id_of(request: Request) -> str | None:
    """The caller's x-request-id, where it is a sane one."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else None


def request_id_of(request: Request) -> str:
    """The caller's own, or one that nobody has."""
    return sent_id_of(request) or secrets.token_hex(12)


_Who = Annotated[Caller, Depends(caller_of)]
_Service = Annotated[Service, Depends(service_of)]
_RequestId = Annotated[str, Depends(request_id_of)]


@router.post("/v1/completions", response_model=Completion, tags=["OpenAI"])
async def complete(
    request: Request, body: CompletionRequest, caller: _Who, service: _Service, request_id: _RequestId
) -> Response:
    """Complete prompts, or records, as the tenant does. With `stream` the answer comes as server-sent events."""
    run = await prepare(service, caller, body, request_id, sent_id_of(request))
    try:
        await run.start()
        if body.stream:
            return StreamingResponse(_events(run), headers=run.headers, media_type="text/event-stream")
        answer = await _unless_left(request, run.whole())
    except asyncio.CancelledError:
        run.end(LEFT)
        raise
    except Exception as problem:
        run.end(refusal_of(problem).status)
        raise
    if answer is None:
        run.end(LEFT)
        return Response(status_code=LEFT)
    run.end(200)
    return JSONResponse(answer.model_dump(), headers=run.headers)


@router.get("/v1/models", tags=["OpenAI"])
async def models(caller: _Who, service: _Service) -> ModelList:
    """The tenants that the caller may ask, with the versions that answer for them."""
    champions = service.fleet.map.champions
    mine = sorted(champions) if caller.is_admin else [caller.tenant] if caller.tenant in champions else []
    return ModelList(data=[_model(service, tenant) for tenant in mine if tenant])


@router.get("/v1/models/{model}", tags=["OpenAI"])
async def model(model: str, caller: _Who, service: _Service) -> Model:
    """One tenant."""
    caller.check(model)
    await service.fleet.choose(model, "champion", "")
    return _model(service, model)


@router.post("/v1/feedback", tags=["PrefixFleet"])
async def feedback(body: FeedbackRequest, caller: _Who, service: _Service) -> FeedbackAnswer:
    """Rate an answer, or say how it should have been; a corrected text becomes an example of the tenant's next data.

    Of what is said of one answer, all is kept, and the first counts for the rollout.
    """
    said = service.memory.to_feedback(caller, body)
    with service.memory.judging(body) as (counts, ticket):
        await asyncio.to_thread(give, service.database, said, counts=counts, ticket=ticket)
    return FeedbackAnswer(id=body.id)


async def _events(run: Run) -> AsyncIterator[str]:
    status = LEFT
    try:
        async for chunk in run.chunks():
            yield _event(chunk.model_dump())
        status = 200
    except Exception as problem:  # noqa: BLE001 - the headers are out, so the caller is told within the stream
        note(problem)
        refusal = refusal_of(problem)
        status = refusal.status
        yield _event(error_body(refusal))
    finally:
        run.end(status)
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _unless_left(request: Request, work: Awaitable[_Result]) -> _Result | None:
    """The work's result, or None where the caller leaves before it is done."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        leaving.cancel()
        working.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _model(service: Service, tenant: str) -> Model:
    challenger = service.fleet.map.challengers.get(tenant)
    return Model(
        id=tenant,
        created=int(service.started_s),
        version=service.fleet.map.champions[tenant].version,
        challenger=challenger.version if challenger else None,
    )
