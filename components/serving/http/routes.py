"""The routes of the API: completions, models, feedback.

Knows HTTP and the service; does not know how a completion is made.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from components.registry.mlflow.versions import CHAMPION
from components.serving.errors import ErrorBody, log_server_error, make_error_body, to_refusal
from components.serving.http.answer_form import AnswerForm
from components.serving.http.answer_run import AnswerRun, prepare_answer
from components.serving.http.api_route import ApiRoute, is_counted_on_arrival
from components.serving.http.auth import Caller
from components.serving.http.chat import ChatForm
from components.serving.http.completions import CompletionForm
from components.serving.http.openai import (
    Completion,
    CompletionRequest,
    FeedbackAnswer,
    FeedbackRequest,
    Model,
    ModelList,
)
from components.serving.http.openai_chat import ChatCompletion, ChatRequest
from components.serving.http.service import Service
from components.serving.interface import BusyError

CLIENT_DISCONNECTED = 499
"""The status that is counted if the client has disconnected; it is never sent."""

_REQUEST_ID_PATTERN = re.compile(r"[\x21-\x7e]{1,200}")
_Result = TypeVar("_Result")

router = APIRouter(
    route_class=ApiRoute, responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}}
)


def get_service(request: Request) -> Service:
    """Return the parts of the server."""
    service: Service = request.app.state.service
    return service


async def get_caller(
    request: Request,
    authorization: Annotated[str | None, Header()] = None,  # noqa: ARG001
) -> Caller:
    """Return the caller whom the route has authenticated; the parameter is for the page /docs."""
    caller: Caller = request.state.caller
    return caller


def find_sent_request_id(request: Request) -> str | None:
    """Return the client's x-request-id, or None if there is no valid one."""
    sent = request.headers.get("x-request-id", "")
    return sent if _REQUEST_ID_PATTERN.fullmatch(sent) else None


def get_request_id(request: Request) -> str:
    """Return the client's x-request-id, or a new one."""
    return find_sent_request_id(request) or secrets.token_hex(12)


async def _provide_service(request: Request) -> Service:
    return get_service(request)  # FastAPI runs a dependency that is not async in a thread


async def _provide_request_id(request: Request) -> str:
    return get_request_id(request)


_AuthenticatedCaller = Annotated[Caller, Depends(get_caller)]
_ServiceDependency = Annotated[Service, Depends(_provide_service)]
_RequestId = Annotated[str, Depends(_provide_request_id)]


@router.post("/v1/completions", response_model=Completion, tags=["OpenAI"])
async def complete(
    request: Request,
    body: CompletionRequest,
    caller: _AuthenticatedCaller,
    service: _ServiceDependency,
    request_id: _RequestId,
) -> Response:
    """Complete prompts or records with the tenant's prefix. With `stream`, send server-sent events."""
    return await _answer(request, caller, service, CompletionForm(body), request_id)


@router.post("/v1/chat/completions", response_model=ChatCompletion, tags=["OpenAI"])
async def complete_chat(
    request: Request,
    body: ChatRequest,
    caller: _AuthenticatedCaller,
    service: _ServiceDependency,
    request_id: _RequestId,
) -> Response:
    """Answer a conversation with the tenant's prefix. With `stream`, send server-sent events."""
    form = ChatForm(body, service.get_ready_engine().tool_call_form)
    return await _answer(request, caller, service, form, request_id)


async def _answer(request: Request, caller: Caller, service: Service, form: AnswerForm, request_id: str) -> Response:
    run = await prepare_answer(service, caller, form, request_id, find_sent_request_id(request))
    try:
        await run.start()
        if form.body.stream:
            return StreamingResponse(_stream_events(run), headers=run.headers, media_type="text/event-stream")
        answer = await _await_unless_disconnected(request, run.collect_answer())
    except asyncio.CancelledError:
        run.finish(CLIENT_DISCONNECTED)
        raise
    except Exception as problem:
        run.finish(to_refusal(problem).status)
        if isinstance(problem, BusyError):
            await service.busy_pace.wait(run.tenant)
        raise
    if answer is None:
        run.finish(CLIENT_DISCONNECTED)
        return Response(status_code=CLIENT_DISCONNECTED)
    run.finish(200)
    return JSONResponse(answer.model_dump(), headers=run.headers)


@router.get("/v1/models", tags=["OpenAI"])
async def models(caller: _AuthenticatedCaller, service: _ServiceDependency) -> ModelList:
    """List the caller's tenants with their champion and challenger."""
    snapshot = service.fleet.snapshot
    listed = {*snapshot.champions, *snapshot.unusable.get(CHAMPION, {})}
    tenants = sorted(listed) if caller.is_admin else [caller.tenant] if caller.tenant in listed else []
    return ModelList(data=[_to_model(service, tenant) for tenant in tenants if tenant])


@router.get("/v1/models/{model}", tags=["OpenAI"])
async def model(model: str, caller: _AuthenticatedCaller, service: _ServiceDependency) -> Model:
    """Return one tenant with its champion and challenger."""
    caller.check_access(model)
    if model not in service.fleet.snapshot.unusable.get(CHAMPION, {}):
        await service.fleet.choose(model, CHAMPION, "")
    return _to_model(service, model)


@router.post("/v1/feedback", tags=["PrefixFleet"])
async def feedback(body: FeedbackRequest, caller: _AuthenticatedCaller, service: _ServiceDependency) -> FeedbackAnswer:
    """Rate an answer, or send the correct text, which becomes an example in the tenant's next training data.

    Feedback on the same choice with the same key replaces the earlier one, until its text is in the training data.
    Only the first on each choice counts for the rollout.
    """
    await service.feedback_desk.accept(caller, body, service.params, is_counted=is_counted_on_arrival(caller))
    return FeedbackAnswer(id=body.id)


async def _stream_events(run: AnswerRun) -> AsyncIterator[str]:
    status = CLIENT_DISCONNECTED
    try:
        async for chunks in run.stream_chunks():
            yield "".join(_format_event(chunk.model_dump()) for chunk in chunks)
        status = 200
    except Exception as problem:  # noqa: BLE001 - the status is sent already: send the error as an event
        log_server_error(problem)
        refusal = to_refusal(problem)
        status = refusal.status
        yield _format_event(make_error_body(refusal))
    finally:
        run.finish(status)
    yield "data: [DONE]\n\n"


def _format_event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _await_unless_disconnected(request: Request, work: Awaitable[_Result]) -> _Result | None:
    """Return the result of `work`, or None if the client disconnects before it is done."""
    working = asyncio.ensure_future(work)
    disconnecting = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait((working, disconnecting), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        disconnecting.cancel()
        working.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _to_model(service: Service, tenant: str) -> Model:
    snapshot = service.fleet.snapshot
    challenger = snapshot.challengers.get(tenant)
    champion = snapshot.champions.get(tenant) or snapshot.unusable[CHAMPION][tenant]
    return Model(
        id=tenant,
        created=int(service.started_s),
        version=champion.version,
        challenger=challenger.version if challenger else None,
        trouble=service.find_trouble(champion),
    )
