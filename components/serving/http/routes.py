"""The routes of the API: completions, models, feedback.

Knows HTTP and the service; does not know how a completion is made.
"""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from components.registry.mlflow.versions import CHAMPION
from components.serving.errors import ErrorBody
from components.serving.http.answer_response import answer_request
from components.serving.http.api_route import ApiRoute, is_counted_on_arrival
from components.serving.http.chat import ChatForm
from components.serving.http.completions import CompletionForm
from components.serving.http.dependencies import CallerDependency, ServiceDependency
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

router = APIRouter(
    route_class=ApiRoute, responses={"default": {"model": ErrorBody, "description": "An error, in OpenAI's shape."}}
)


@router.post("/v1/completions", response_model=Completion, tags=["OpenAI"])
async def complete(
    request: Request,
    body: CompletionRequest,
    caller: CallerDependency,
    service: ServiceDependency,
) -> Response:
    """Complete prompts or records with the tenant's prefix. With `stream`, send server-sent events."""
    return await answer_request(request, caller, service, CompletionForm(body))


@router.post("/v1/chat/completions", response_model=ChatCompletion, tags=["OpenAI"])
async def complete_chat(
    request: Request,
    body: ChatRequest,
    caller: CallerDependency,
    service: ServiceDependency,
) -> Response:
    """Answer a conversation with the tenant's prefix. With `stream`, send server-sent events."""
    form = ChatForm(body, service.get_ready_engine().tool_call_form)
    return await answer_request(request, caller, service, form)


@router.get("/v1/models", tags=["OpenAI"])
async def models(caller: CallerDependency, service: ServiceDependency) -> ModelList:
    """List the caller's tenants with their champion and challenger."""
    snapshot = service.fleet.snapshot
    listed = {*snapshot.champions, *snapshot.unusable.get(CHAMPION, {})}
    tenants = sorted(listed) if caller.tenant is None else [caller.tenant] if caller.tenant in listed else []
    return ModelList(data=[_to_model(service, tenant) for tenant in tenants if tenant])


@router.get("/v1/models/{model}", tags=["OpenAI"])
async def model(model: str, caller: CallerDependency, service: ServiceDependency) -> Model:
    """Return one tenant with its champion and challenger."""
    caller.check_access(model)
    if model not in service.fleet.snapshot.unusable.get(CHAMPION, {}):
        await service.fleet.choose(model, CHAMPION, "")
    return _to_model(service, model)


@router.post("/v1/feedback", tags=["PrefixFleet"])
async def feedback(body: FeedbackRequest, caller: CallerDependency, service: ServiceDependency) -> FeedbackAnswer:
    """Rate an answer, or send the correct text, which becomes an example in the tenant's next training data.

    Feedback on the same choice with the same key replaces the earlier one, until its text is in the training data.
    Only the first on each choice counts for the rollout.
    """
    await service.feedback_desk.accept(caller, body, is_counted=is_counted_on_arrival(caller))
    return FeedbackAnswer(id=body.id)


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
