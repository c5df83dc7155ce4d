"""Receive a form with one file (multipart/form-data): the file goes to disk as it arrives, the texts to memory.

Knows the form; does not know what its fields mean.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from components.serving.errors import RefusalError
from components.serving.http.multipart_decoder import MultipartDecoder, PartStart, find_boundary
from components.storage.atomic_files import convert_disk_errors

FILE_FIELD = "file"
_MAX_PARTS = 16
_MAX_FIELD_BYTES = 1_000
_WRITE_BYTES = 256 * 1024

Write = Callable[[bytes], Awaitable[None]]


@dataclass
class ReceivedForm:
    """What a form had beside its file's content."""

    texts: dict[str, str] = field(default_factory=dict)
    file_name: str | None = None
    """None: it had no file."""


async def receive_form(content_type: str, body: AsyncIterator[bytes], write: Write) -> ReceivedForm:
    """Read a form; the content of its field `file` goes to `write`, in pieces.

    Raises:
        RefusalError: 400, it is no such form, it ends early, it has several files or too many or too long fields.
    """
    boundary = find_boundary(content_type)
    if boundary is None:
        raise _make_error(f"content-type {content_type[:100]!r}")
    decoder, reader = MultipartDecoder(boundary), _FormReader(write)
    try:
        async for chunk in body:
            for event in decoder.decode(chunk):
                await reader.read(event)
    except ValueError as problem:
        raise _make_error(str(problem)) from None
    if not decoder.is_complete:
        raise _make_error("a part of a form")
    return await reader.finish()


class _FormReader:
    def __init__(self, write: Write) -> None:
        self._form, self._write, self._buffer = ReceivedForm(), write, bytearray()
        self._texts: dict[str, bytearray] = {}
        self._text: bytearray | None = None
        """The text that is read; None: the file's content is."""

    async def read(self, event: PartStart | bytes) -> None:
        if isinstance(event, PartStart):
            self._start_part(event)
        elif self._text is None:
            self._buffer += event
            if len(self._buffer) >= _WRITE_BYTES:
                await self._flush()
        else:
            self._text += event
            if len(self._text) > _MAX_FIELD_BYTES:
                raise _make_error(f"a text of more than {_MAX_FIELD_BYTES} bytes")

    async def finish(self) -> ReceivedForm:
        await self._flush()
        self._form.texts = {name: text.decode("utf-8", "replace") for name, text in self._texts.items()}
        return self._form

    def _start_part(self, part: PartStart) -> None:
        shown = repr(part.name[:100])
        if part.file_name is not None:
            if part.name != FILE_FIELD or self._form.file_name is not None:
                raise _make_error(f"a file in the field {shown}")
            self._form.file_name, self._text = part.file_name, None
            return
        if part.name in self._texts:
            raise _make_error(f"the field {shown} twice")
        if len(self._texts) == _MAX_PARTS:
            raise _make_error(f"more than {_MAX_PARTS} fields")
        self._text = self._texts[part.name] = bytearray()

    async def _flush(self) -> None:
        if self._buffer:
            content = bytes(self._buffer)
            self._buffer.clear()
            await self._write(content)


def append_to(path: Path, content: bytes) -> None:
    """Append to a file. Raises WorkspaceError."""
    with convert_disk_errors(f"write {path}"), path.open("ab") as file:
        file.write(content)


def _make_error(got: str) -> RefusalError:
    wanted = f"a form (multipart/form-data) with one file, in the field {FILE_FIELD!r}"
    return RefusalError(400, wanted, got, "send the form as OpenAI's client does", code="invalid_form")
