"""How an answer goes on after its engine has stopped: another engine gets the tokens so far, or begins again.

Knows requests and the events of replies; does not know HTTP.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

from components.serving.interface import GenerationRequest
from components.serving.remote.reply_events import ReplyEvent
from components.serving.remote.server_errors import ServerDownError


def can_continue(request: GenerationRequest) -> bool:
    """Return whether an engine may get the tokens so far as a part of the prompt.

    Not if the next token depends on which tokens were generated: vLLM's penalties and grammars leave the prompt out.
    """
    controls = request.controls
    return not (controls.presence_penalty or controls.frequency_penalty or controls.json_schema)


async def skip_known_tokens(events: AsyncIterator[ReplyEvent], known: Sequence[int]) -> AsyncGenerator[ReplyEvent]:
    """Yield the events of a reply that began again, without the tokens that are known.

    Raises:
        ServerDownError: the reply begins with other tokens, so the known ones cannot be continued.
    """
    left = list(known)
    async for event in events:
        repeated = event.tokens[: len(left)]
        if [token.token_id for token in repeated] != left[: len(repeated)]:
            raise ServerDownError("an engine that begins the answer otherwise than the one that stopped answering")
        del left[: len(repeated)]
        yield replace(event, tokens=event.tokens[len(repeated) :])
