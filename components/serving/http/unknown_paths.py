"""Say what a client that asks for a path of OpenAI's API finds here instead. Knows paths; does not know requests."""

import difflib
from collections.abc import Sequence

_INSTEAD = {
    "/v1/responses": "responses are not supported; send messages to POST /v1/chat/completions",
    "/v1/embeddings": "embeddings are not supported; this server has POST /v1/completions and /v1/chat/completions",
}
_MAX_CHARS = 100


def suggest_path(path: str, known: Sequence[str]) -> str:
    """Return what to do instead of asking for `path`; `known` are the paths that there are."""
    asked = "/" + path[:_MAX_CHARS].strip("/")
    if "chat" in asked:
        return "use POST /v1/chat/completions"
    if asked in _INSTEAD:
        return _INSTEAD[asked]
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]}?"
    return f"use one of {', '.join(known)}; /docs describes them"
