"""ASGI middleware of vLLM's HTTP server: what the engine would refuse, or answer wrongly, gets 400 before it is queued.

The engine can only end a refused request with a 500, or with an error event in a stream. Start the server with
`--middleware prefixfleet_vllm.admission.AdmissionCheck`. Knows HTTP and the bodies of completions; does not know the
engine. Paths other than /v1/completions take no POST, since vLLM would answer there without the artifact's checks.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.orders import KEY, check_request
from prefixfleet_vllm.settings import parse_settings

_PATH = "/v1/completions"
_BREAKS_ARTIFACT = {
    "echo": "it would return placeholders",
    "use_beam_search": "vLLM's beams lose the artifact",
    "truncate_prompt_tokens": "it would cut placeholders off",
    "prompt_embeds": "a prompt is token ids",
}

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class AdmissionCheck:
    """Checks the requests for completions, and lets the engine see only those that it can answer."""

    def __init__(self, app: App) -> None:
        """Wrap the server's app."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer 400 or 404, or pass the request on."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["method"] != "POST"):
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] != _PATH:
            await _answer(
                send, 404, "NotFoundError", f"wanted POST {_PATH}; got POST {scope['path']}; nothing else is served"
            )
        else:
            body = await _read_body(receive)
            try:
                check_body(body, serve_base=_read_serve_base(scope))
            except PluginError as problem:
                await _answer(send, 400, "BadRequestError", str(problem))
            else:
                await self._app(scope, _replay(body, receive), send)


def check_body(body: bytes, *, serve_base: bool) -> None:
    """Check the body of a request for completions; a body that vLLM refuses itself passes.

    Raises:
        PluginError: the engine would refuse the request, or could not answer it with the artifact.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return
    if not isinstance(fields, dict):
        return
    params = fields.get("kv_transfer_params")
    if params is not None and not isinstance(params, Mapping):
        return
    if params and KEY in params:
        for name, reason in _BREAKS_ARTIFACT.items():
            if fields.get(name):
                raise PluginError(
                    "request", f"a request with an artifact without {name}", f"one with it: {reason}", "omit it"
                )
    salt = fields.get("cache_salt")
    for tokens in _count_tokens(fields.get("prompt")):
        check_request(
            params,
            prompt_tokens=tokens,
            cache_salt=salt if isinstance(salt, str) else None,
            wants_prompt_logprobs=fields.get("prompt_logprobs") is not None,
            serve_base=serve_base,
        )


def _count_tokens(prompt: Any) -> list[int | None]:
    """Return the number of tokens of each prompt of a request; None for a text."""
    if isinstance(prompt, list) and prompt and all(isinstance(one, list) for one in prompt):
        return [len(one) for one in prompt]
    if isinstance(prompt, list) and all(isinstance(one, int) for one in prompt):
        return [len(prompt)]
    return [None]


def _read_serve_base(scope: Message) -> bool:
    transfer = scope["app"].state.vllm_config.kv_transfer_config
    return parse_settings({} if transfer is None else transfer.kv_connector_extra_config).serve_base


async def _read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once, and then what the server has to say, such as a disconnect."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _answer(send: Send, status: int, kind: str, message: str) -> None:
    content = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
