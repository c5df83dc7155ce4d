"""A request of the playground: what a person asked for, as a body of the server's API, and as curl and Python.

Pure: sends nothing. Knows the API as docs/serving.md describes it; does not import the server.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.errors import DataError

InputKind = Literal["text", "record", "chat"]
_LOGPROBS = 5
_KEY_NAME = "PREFIXFLEET_KEY"


class TryForm(BaseModel):
    """The fields of the playground's form; None: the tenant's own setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(pattern=r"^([0-9]{1,9}|champion|challenger|base)$")
    """Number or alias; base: the base alone."""
    kind: InputKind
    text: str = Field(min_length=1, max_length=200_000)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    num_beams: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0, le=3)
    stop: str = Field(default="", max_length=1000)


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """A request to the server."""

    path: str
    body: Mapping[str, Any]


def build_request(tenant: str, form: TryForm) -> ServerRequest:
    """Return the streamed request for what was asked. A beam search has no log probabilities.

    Raises:
        DataError: the record is not JSON, or the conversation not as `role: text`.
    """
    alias = "champion" if form.version == "base" else form.version
    body: dict[str, Any] = {"model": f"{tenant}@{alias}"}
    if form.kind == "chat":
        body["messages"] = _parse_conversation(form.text)
    elif form.kind == "record":
        body["input"] = _parse_record(form.text)
    else:
        body["prompt"] = form.text
    for name in ("max_tokens", "temperature", "top_p", "seed", "num_beams", "guidance"):
        if (value := getattr(form, name)) is not None:
            body[name] = value
    if form.version == "base":
        body["guidance"] = 0.0
    if form.stop:
        body["stop"] = form.stop
    if (form.num_beams or 1) == 1:
        body["num_beams"] = 1
        body |= {"logprobs": True, "top_logprobs": _LOGPROBS} if form.kind == "chat" else {"logprobs": _LOGPROBS}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    return ServerRequest("/v1/chat/completions" if form.kind == "chat" else "/v1/completions", body)


def write_curl(server: str, request: ServerRequest) -> str:
    """Return the request as a curl command; the key comes from the environment."""
    body = json.dumps(request.body, ensure_ascii=False)
    return (
        f"curl -N {shlex.quote(server + request.path)} -H 'content-type: application/json' "
        f'-H "authorization: Bearer ${_KEY_NAME}" -d {shlex.quote(body)}'
    )


def write_python(server: str, request: ServerRequest) -> str:
    """Return the request as a Python program with OpenAI's client; what OpenAI's API does not have is in extra_body."""
    own = {name: value for name, value in request.body.items() if name in ("guidance", "input", "num_beams")}
    known = {name: value for name, value in request.body.items() if name not in own and name != "stream_options"}
    if "input" in own:
        known["prompt"] = None
    is_chat = "messages" in request.body
    call = "client.chat.completions.create" if is_chat else "client.completions.create"
    lines = [f"    {name}={value!r}," for name, value in known.items()]
    if own:
        lines.append(f"    extra_body={own!r},")
    piece = "chunk.choices[0].delta.content" if is_chat else "chunk.choices[0].text"
    return "\n".join(
        (
            "import os",
            "",
            "import openai",
            "",
            f'client = openai.OpenAI(base_url="{server}/v1", api_key=os.environ.get("{_KEY_NAME}", "none"))',
            f"for chunk in {call}(",
            *lines,
            "):",
            f'    print({piece} or "", end="")',
            "",
        )
    )


def _parse_record(text: str) -> Any:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise _make_record_error(str(problem)) from None
    if not isinstance(record, dict) or not record:
        raise _make_record_error(text[:100])
    return record


def _make_record_error(got: str) -> DataError:
    return DataError('a record as JSON, such as {"name": "Blue Spice"}', got, "correct the record, or choose text")


def _parse_conversation(text: str) -> list[dict[str, str]]:
    """Return messages: a line that begins with `system:`, `user:` or `assistant:` begins one; else one of the user."""
    messages: list[dict[str, str]] = []
    for line in text.splitlines():
        role, colon, rest = line.partition(":")
        if colon and role.strip().lower() in ("system", "user", "assistant"):
            messages.append({"role": role.strip().lower(), "content": rest.strip()})
        elif messages:
            messages[-1]["content"] += f"\n{line}"
        else:
            messages.append({"role": "user", "content": line})
    if messages[-1]["role"] == "assistant":
        raise DataError("a last message of the user", "one of the assistant", "add a line that begins with `user:`")
    return messages
