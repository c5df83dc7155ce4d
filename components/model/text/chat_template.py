"""Renders chat messages as text with a tokenizer's chat template, and evens out what templates do differently.

A template that has no system messages gets the system text before the first user's text. A tool call's arguments are
given as an object or, if the template joins them to text, as JSON. Names of special tokens in messages are marked, so
that they can be encoded as plain text: only the template writes special tokens. Knows templates; does not know ids.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from components.errors import BaseModelError, DataError
from components.model.text.chat_files import make_no_template_error
from components.model.text.marked_text import MARK_END, MARK_START, Span

Messages = Sequence[Mapping[str, Any]]
"""Messages of OpenAI's form: role, content (text, or a list of text parts), and perhaps name, tool_calls, ..."""
Tools = Sequence[Mapping[str, Any]]
"""Tools of OpenAI's form: {"type": "function", "function": {"name": ..., "parameters": ...}}."""

_MARKS = re.compile(f"[{MARK_START}{MARK_END}]")
_GENERATION = re.compile(r"\{%-?\s*generation\b")
_FIX = "change the messages, or set base.chat_template to a file with another template"


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A conversation as text; names of special tokens in its messages are between MARK_START and MARK_END."""

    text: str
    spans: tuple[Span, ...] = ()
    """What the template marks by {% generation %}."""


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template, with values for its own variables (such as enable_thinking)."""

    tokenizer: Any
    values: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Render a message of a user. Raises as `render`."""
        self.render([{"role": "user", "content": "a"}], add_generation_prompt=True)

    def has_markers(self, tools: Tools | None = None) -> bool:
        """Return whether the template marks what the assistant generates by {% generation %}."""
        return bool(_GENERATION.search(self._find_source(tools)))

    def render(self, messages: Messages, tools: Tools | None = None, *, add_generation_prompt: bool) -> RenderedChat:
        """Render messages; `add_generation_prompt` adds what precedes the assistant's next turn.

        Raises:
            BaseModelError: the tokenizer has no chat template, or it is not Jinja.
            DataError: a message, a tool call or a tool has another form; the template refuses the messages, or has no
                tools and some are given.
        """
        source = self._find_source(tools)
        _check_types(messages, tools)
        if tools and not re.search(r"\btools\b", source):
            raise DataError("messages without tools", "tools, which the base's chat template does not show", _FIX)
        first: RenderedChat | None = None
        problem: Exception | None = None
        for form in _list_forms(messages, knows_developer="developer" in source):
            try:
                rendered = self._render(source, self._mark(form), self._mark(tools), add_generation_prompt)
            except Exception as raised:  # noqa: BLE001 - a template is code and may raise anything
                problem = problem or raised
                continue
            if _shows_all(_MARKS.sub("", rendered.text), form):
                return rendered
            first = first or rendered
        if first is None:
            raise _convert_error(problem)
        return first

    def _render(self, source: str, messages: Any, tools: Any, add_generation_prompt: bool) -> RenderedChat:
        from transformers.utils.chat_template_utils import render_jinja_template

        values = {**self.tokenizer.special_tokens_map, **self.values}
        marked = bool(_GENERATION.search(source))
        (text,), spans = render_jinja_template(
            conversations=[messages],
            tools=tools or None,
            chat_template=source,
            return_assistant_tokens_mask=marked,
            add_generation_prompt=add_generation_prompt,
            **values,
        )
        return RenderedChat(text, tuple(spans[0]) if marked else ())

    def _find_source(self, tools: Tools | None) -> str:
        try:
            source: str = self.tokenizer.get_chat_template(tools=tools or None)
        except ValueError:
            raise make_no_template_error() from None
        return source

    def _mark(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._special_names.sub(f"{MARK_START}\\g<0>{MARK_END}", _MARKS.sub("", value))
        if isinstance(value, Mapping):
            return {key: self._mark(inner) for key, inner in value.items()}
        return [*map(self._mark, value)] if isinstance(value, list | tuple) else value

    @cached_property
    def _special_names(self) -> re.Pattern[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        names = {token.content for token in added if token.special} | set(self.tokenizer.all_special_tokens)
        longest_first = sorted(filter(None, names), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def flatten_content(content: Any) -> str:
    """Return the content of a message as one text: text parts are joined, None is "".

    Raises:
        DataError: a part is no text, such as an image.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    parts = content if isinstance(content, list | tuple) else ()
    kinds = [part.get("type") if isinstance(part, Mapping) else type(part).__name__ for part in parts]
    got = f"parts of type {', '.join(map(str, kinds))}" if kinds else f"content of type {type(content).__name__}"
    raise DataError("a message whose content is text", got, "send text, or parts of type text")


def _check_types(messages: Messages, tools: Tools | None) -> None:
    """Check what the forms and the templates read; DataError if a type is another."""
    calls = [one.get("tool_calls") or [] for one in messages if isinstance(one, Mapping)]
    listed = [call for some in calls if isinstance(some, list | tuple) for call in some]
    wanted = "messages, tool calls and tools as objects of OpenAI's form"
    if not messages or not all(isinstance(one, Mapping) and isinstance(one.get("role"), str) for one in messages):
        raise DataError(wanted, "no message, or one without a role", "send a list of objects with role and content")
    if not all(isinstance(some, list | tuple) for some in calls) or not all(
        isinstance(call, Mapping) and isinstance(call.get("function"), Mapping) for call in listed
    ):
        raise DataError(wanted, "tool_calls that are no list of functions", "correct the message's tool_calls")
    if not all(isinstance(tool, Mapping) for tool in tools or ()):
        raise DataError(wanted, "tools that are no list of objects", "correct the tools")


def _list_forms(messages: Messages, *, knows_developer: bool) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages in every form that a template may want, the usual form first."""
    has_system = len(messages) > 1 and messages[0].get("role") in ("system", "developer")
    can_merge = has_system and messages[1].get("role") == "user"
    has_calls = any(message.get("tool_calls") for message in messages)
    for merge, as_text in product((False, True) if can_merge else (False,), (False, True) if has_calls else (False,)):
        form = [_convert_message(message, as_text) for message in messages]
        if not knows_developer:
            form = [{**one, "role": "system"} if one.get("role") == "developer" else one for one in form]
        if merge:
            system, user, *others = form
            form = [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *others]
        yield form


def _convert_message(message: Mapping[str, Any], arguments_as_text: bool) -> dict[str, Any]:
    converted = {key: value for key, value in message.items() if value is not None}
    converted["content"] = flatten_content(message.get("content"))
    converted.pop("tool_calls", None)
    if calls := message.get("tool_calls"):
        converted["tool_calls"] = [_convert_call(call, arguments_as_text) for call in calls]
    return converted


def _convert_call(call: Mapping[str, Any], arguments_as_text: bool) -> dict[str, Any]:
    function = dict(call["function"])
    arguments = function.get("arguments", {})
    if arguments_as_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    elif not arguments_as_text and isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            got = f"the arguments {arguments[:60]!r} of {function.get('name')!r}"
            raise DataError("a tool call whose arguments are JSON", got, "correct the tool call") from None
    return {**call, "function": {**function, "arguments": arguments}}


def _shows_all(text: str, form: list[dict[str, Any]]) -> bool:
    """Whether the system text is in the rendered text, and no tool call's arguments as Python writes a dict."""
    if form and form[0].get("role") in ("system", "developer") and form[0]["content"].strip() not in text:
        return False
    calls = [call for message in form for call in message.get("tool_calls", ())]
    arguments = [call["function"]["arguments"] for call in calls]
    return not any(isinstance(one, dict) and str(one) in text and not _is_json(str(one)) for one in arguments)


def _is_json(text: str) -> bool:
    """Whether a dict as Python writes it is JSON too, as `{}` or a dict of keys with apostrophes."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _convert_error(problem: Exception | None) -> DataError | BaseModelError:
    from jinja2 import TemplateSyntaxError

    if isinstance(problem, DataError | BaseModelError):
        return problem
    got = " ".join(str(problem).split())[:200] or type(problem).__name__
    if isinstance(problem, TemplateSyntaxError):
        return BaseModelError("a chat template in Jinja", f"line {problem.lineno}: {got}", "correct the template")
    return DataError("messages that the base's chat template accepts", f"it answers: {got}", _FIX)
