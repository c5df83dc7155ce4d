"""The routes of OpenAI's files: upload for fine-tuning, list, read, delete. A tenant's key sees its own files.

Knows HTTP and the uploads; does not know jobs.
"""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from components.config import Params
from components.fine_tuning.uploads import check_name
from components.rollout.store.uploaded_files import UploadedFile, find_file, list_files
from components.serving.errors import ErrorBody, RefusalError
from components.serving.http.api_route import ApiRoute, is_counted_on_arrival
from components.serving.http.auth import Caller
from components.serving.http.dependencies import CallerDependency, ServiceDependency
from components.serving.http.multipart_form import append_to, receive_form
from components.serving.http.openai_files import (
    PURPOSE,
    DeletedFile,
    FileList,
    FileObject,
    describe_form,
    to_file_object,
)
from components.serving.http.paging import MAX_PAGE, take_page
from components.serving.http.service import Service

FILES_PATH = "/v1/files"

router = APIRouter(
    route_class=ApiRoute,
    tags=["Fine-tuning"],
    responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}},
)


@router.post(FILES_PATH, openapi_extra=describe_form())
async def upload(request: Request, caller: CallerDependency, service: ServiceDependency) -> FileObject:
    """Upload a file of JSON lines for fine-tuning. It is stored only if every line is a valid example."""
    if is_counted_on_arrival(caller):
        await service.quotas.admit(str(caller.tenant), 0)
    uploads, pool, name = service.uploads, service.fine_tuning_pool, caller.tenant or ""
    max_files = _get_params(service, caller).access.max_files
    await pool.run(lambda: uploads.require_room(caller.tenant, max_files), name)
    with uploads.receive(caller.tenant) as temporary:

        async def write(content: bytes) -> None:
            await pool.run(lambda: append_to(temporary, content), name)

        form = await receive_form(request.headers.get("content-type", ""), request.stream(), write)
        purpose = form.texts.pop("purpose", None)
        if purpose != PURPOSE:
            got = "none" if purpose is None else repr(purpose[:100])
            raise RefusalError(400, f"purpose {PURPOSE!r}", got, "correct purpose", code="invalid_parameter")
        if form.texts:
            unknown = next(iter(form.texts))[:100]
            raise RefusalError(
                400, "the fields file and purpose", repr(unknown), f"remove {unknown}", code="unknown_parameter"
            )
        if form.file_name is None:
            raise RefusalError(400, "a value for file", "none", "add file", code="missing_parameter")
        check_name(form.file_name)
        await pool.run(lambda: append_to(temporary, b""), name)
        store = partial(uploads.store, temporary, form.file_name, caller.tenant, max_files)
        file = await service.upload_pool.run(store, name)
    return to_file_object(file)


@router.get(FILES_PATH)
async def files(
    caller: CallerDependency,
    service: ServiceDependency,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    order: Literal["asc", "desc"] = "desc",
) -> FileList:
    """List the caller's files; an admin key lists all."""
    found = await service.fine_tuning_pool.run(lambda: list_files(service.database, caller.tenant), caller.tenant or "")
    wanted = [file for file in found if purpose in (None, PURPOSE)]
    page, has_more = take_page(wanted if order == "desc" else wanted[::-1], lambda file: file.id, after, limit)
    data = [to_file_object(file) for file in page]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    return FileList(data=data, has_more=has_more, first_id=ends[0], last_id=ends[1])


@router.get(FILES_PATH + "/{file_id}")
async def file(file_id: str, caller: CallerDependency, service: ServiceDependency) -> FileObject:
    """Return one of the caller's files."""
    return to_file_object(await require_file(service, caller, file_id))


@router.get(FILES_PATH + "/{file_id}/content", response_class=FileResponse)
async def file_content(file_id: str, caller: CallerDependency, service: ServiceDependency) -> FileResponse:
    """Return the content of one of the caller's files, byte for byte."""
    found = await require_file(service, caller, file_id)
    path = service.uploads.get_path(found)
    if not await service.fine_tuning_pool.run(path.is_file, caller.tenant or ""):
        raise RefusalError(
            404, "the file's content", "a file that is no longer on this server's disk", "upload it again"
        )
    return FileResponse(path, media_type="application/octet-stream", filename=found.name)


@router.delete(FILES_PATH + "/{file_id}")
async def delete_file(file_id: str, caller: CallerDependency, service: ServiceDependency) -> DeletedFile:
    """Delete one of the caller's files; what was trained from it stays."""
    found = await require_file(service, caller, file_id)
    await service.fine_tuning_pool.run(lambda: service.uploads.remove(found), caller.tenant or "")
    return DeletedFile(id=file_id)


async def require_file(service: Service, caller: Caller, file_id: str) -> UploadedFile:
    """Return a file that the caller may see. Raises RefusalError: 404."""
    found = await service.fine_tuning_pool.run(
        lambda: find_file(service.database, file_id, caller.tenant), caller.tenant or ""
    )
    if found is None:
        raise RefusalError(404, "the id of one of your files", repr(file_id[:100]), f"see GET {FILES_PATH}")
    return found


def _get_params(service: Service, caller: Caller) -> Params:
    return service.params if caller.tenant is None else service.get_tenant_params(caller.tenant)
