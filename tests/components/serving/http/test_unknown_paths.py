import pytest

from components.serving.http.unknown_paths import suggest_path

KNOWN = ("/v1/completions", "/v1/models", "/v1/feedback", "/healthz")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/chat/completions/", "use POST /v1/chat/completions"),
        ("/chat/completions", "use POST /v1/chat/completions"),
        ("/v1/embeddings", "embeddings are not supported"),
        ("/v1/responses", "responses are not supported"),
        ("/v1/completions/", "did you mean /v1/completions"),
        ("/completions", "did you mean /v1/completions"),
        ("/v1/completion", "did you mean /v1/completions"),
        ("/v1/images/generations", "use one of /v1/completions, /v1/models, /v1/feedback, /healthz"),
        ("/" + "x" * 100_000, "use one of"),
    ],
)
def test_what_there_is_instead_is_named(path, words):
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(suggest_path(path, KNOWN))
