"""Answer a request whole or as server-sent events. Knows HTTP; does not know how a completion is made."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from components.serving.errors import log_server_error, make_error_body, to_refusal
from components.serving.http.answer_form import AnswerForm
from components.serving.http.answer_run import CLIENT_DISCONNECTED, AnswerRun, prepare_answer
from components.serving.http.auth import Caller
from components.serving.http.request_id import find_sent_request_id, get_request_id
from components.serving.http.service import Service
from components.serving.interface import BusyError

_Result = TypeVar("_Result")


async def answer_request(request: Request, caller: Caller, service: Service, form: AnswerForm) -> Response:
    """Generate the answer with the version that the tenant's aliases name, and count the request once."""
    run = await prepare_answer(service, caller, form, get_request_id(request), find_sent_request_id(request))
    try:
        await run.start()
        if form.body.stream:
            return await _start_stream(request, run)
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
        return _finish_disconnected(run)
    run.finish(200)
    return JSONResponse(answer.model_dump(), headers=run.headers)


async def _start_stream(request: Request, run: AnswerRun) -> Response:
    """Send the status together with the first chunk.

    Until then an error gets a status of its own, and a load balancer may send the request to another server.
    """
    chunks = run.stream_chunks()
    first = await _await_unless_disconnected(request, anext(chunks, []))
    if first is None:
        return _finish_disconnected(run)
    return StreamingResponse(_stream_events(run, first, chunks), headers=run.headers, media_type="text/event-stream")


def _finish_disconnected(run: AnswerRun) -> Response:
    run.finish(CLIENT_DISCONNECTED)
    return Response(status_code=CLIENT_DISCONNECTED)


async def _stream_events(
    run: AnswerRun, first: Sequence[BaseModel], others: AsyncIterator[Sequence[BaseModel]]
) -> AsyncIterator[str]:
    status = CLIENT_DISCONNECTED
    try:
        yield _format_chunks(first)
        async for chunks in others:
            yield _format_chunks(chunks)
        status = 200
    except Exception as problem:  # noqa: BLE001 - the status is sent already: send the error as an event
        log_server_error(problem)
        refusal = to_refusal(problem)
        status = refusal.status
        yield _format_event(make_error_body(refusal))
    finally:
        run.finish(status)
    yield "data: [DONE]\n\n"


def _format_chunks(chunks: Sequence[BaseModel]) -> str:
    return "".join(_format_event(chunk.model_dump()) for chunk in chunks)


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
