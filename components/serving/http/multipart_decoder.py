"""Decodes multipart/form-data (RFC 7578) as its bytes arrive, in whatever pieces. Knows no request and no field."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

_MAX_HEADER_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class PartStart:
    """The header of a part."""

    name: str
    file_name: str | None
    """None: the part is no file."""


class MultipartDecoder:
    """One body. `is_complete` once its last boundary was read; what follows it is ignored."""

    def __init__(self, boundary: str) -> None:
        self.is_complete = False
        self._mark = b"\r\n--" + boundary.encode("latin-1", "replace")
        self._buffer = bytearray(b"\r\n")  # the first boundary needs no line before it
        self._is_in_header, self._is_in_part = False, False

    def decode(self, data: bytes) -> Iterator[PartStart | bytes]:
        """Yield the starts of parts, and after each the pieces of its content. Raises ValueError: no such form."""
        self._buffer += data
        while not self.is_complete:
            if self._is_in_header:
                end = self._buffer.find(b"\r\n\r\n")
                if (end < 0 and len(self._buffer) > _MAX_HEADER_BYTES) or end > _MAX_HEADER_BYTES:
                    raise ValueError("a part with a header that is too long")
                if end < 0:
                    return
                yield _parse_header(bytes(self._buffer[: end + 4]))
                del self._buffer[: end + 4]
                self._is_in_header, self._is_in_part = False, True
            end = self._buffer.find(self._mark)
            size = max(0, len(self._buffer) - len(self._mark) + 1) if end < 0 else end
            if size and self._is_in_part:
                yield bytes(self._buffer[:size])
            del self._buffer[:size]
            if end < 0 or not self._read_mark():
                return

    def _read_mark(self) -> bool:
        """Read what follows the boundary at the buffer's start; return False if it has not arrived."""
        rest = bytes(self._buffer[len(self._mark) : len(self._mark) + 2])
        if len(rest) < 2:
            return False
        if rest not in (b"\r\n", b"--"):
            raise ValueError("a boundary with other text behind it")
        self._is_in_part, self._is_in_header, self.is_complete = False, rest == b"\r\n", rest == b"--"
        del self._buffer[: len(self._mark) + 2]
        return True


def find_boundary(content_type: str) -> str | None:
    """Return the boundary in a request's content-type; None: it is no form with files."""
    header = Message()
    header["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    boundary = header.get_boundary()
    return boundary if header.get_content_type() == "multipart/form-data" and boundary else None


def _parse_header(header: bytes) -> PartStart:
    fields = HeaderParser().parsestr(header.decode("utf-8", "replace"))
    name = fields.get_param("name", header="content-disposition")
    if fields.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise ValueError("a part without a name")
    return PartStart(name, fields.get_filename())
