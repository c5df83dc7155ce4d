"""OpenAI's files as data types. Source: https://platform.openai.com/docs/api-reference/files."""

from typing import Any, Literal

from pydantic import BaseModel

from components.rollout.store.uploaded_files import UploadedFile

PURPOSE = "fine-tune"


class FileObject(BaseModel):
    """An uploaded file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    expires_at: None = None
    status_details: None = None


class FileList(BaseModel):
    """A page of the caller's files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedFile(BaseModel):
    """A file that was deleted."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def to_file_object(file: UploadedFile) -> FileObject:
    """Return a file in OpenAI's form."""
    return FileObject(id=file.id, bytes=file.size_bytes, created_at=int(file.created_s), filename=file.name)


def describe_form() -> dict[str, Any]:
    """Return the schema of the upload's form, for the page /docs: FastAPI does not read it."""
    properties = {
        "file": {"type": "string", "format": "binary", "description": "JSON lines; the name ends with .jsonl"},
        "purpose": {"type": "string", "enum": [PURPOSE]},
    }
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
