"""An OpenID Connect provider on a real port: it checks what a strict one checks, and can be told to be wrong.

A code is good for one use, and for its client, redirect and PKCE verifier.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from waiting import wait_until

CLIENT, SECRET, AUDIENCE = "console", "s3cret-of-the-client", "https://fleet.example/api"


class Provider:
    """A provider at `url`. Whoever comes to its login is `person`: the claims of the next logins."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.person: dict[str, Any] = {"sub": "p-1", "email": "ada@example.com", "groups": ["fleet-admins"]}
        self.keys = {"first": rsa.generate_private_key(65537, 2048)}
        """Name -> private key, as published; the last one signs."""
        self.changes: dict[str, Any] = {}
        """Claims of ID tokens that replace the right ones."""
        self.is_down = False
        self.is_public = False
        """Whether the client has no secret."""
        self.userinfo_only: set[str] = set()
        """Claims that are left out of ID tokens."""
        self.says_issuer: str | None = None
        """Value of iss in the answer to a login."""
        self.key_reads = 0
        self.codes: dict[str, dict[str, Any]] = {}
        self.named: dict[str, Any] = {}
        """The person of the last token."""
        self.ended: list[dict[str, str]] = []
        """Queries of the logouts."""

    def sign(self, claims: dict[str, Any], *, key: Any = None, name: str | None = "", algorithm: str = "RS256") -> str:
        """A JWT with these claims as they are; `name` None: without a key's name."""
        last = list(self.keys)[-1]
        headers = {} if name is None else {"kid": name or last}
        return jwt.encode(claims, key or self.keys[last], algorithm, headers=headers)

    def make_token(self, sign: dict[str, Any] | None = None, **claims: Any) -> str:
        """An access token for the API; `claims` replace or add, None removes; `sign`: see there."""
        now = int(time.time())
        all_claims = {"iss": self.url, "aud": AUDIENCE, "sub": "p-1", "iat": now, "exp": now + 300, **claims}
        return self.sign({name: value for name, value in all_claims.items() if value is not None}, **(sign or {}))

    def rotate(self, name: str, *, keeps_old: bool = False) -> None:
        """Publish a new key, which signs from now on."""
        self.keys = {**(self.keys if keeps_old else {}), name: ec.generate_private_key(ec.SECP256R1())}


def _make_app(provider: Provider) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def fail(request: Request, call: Any) -> Response:
        if provider.is_down:
            return JSONResponse({"error": "down"}, 503)
        return await call(request)  # type: ignore[no-any-return]

    @app.get("/.well-known/openid-configuration")
    def configuration() -> dict[str, Any]:
        names = ("authorization", "token", "userinfo", "end_session")
        endpoints = {f"{name}_endpoint": f"{provider.url}/{name}" for name in names}
        return {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys", **endpoints}

    @app.get("/keys")
    def keys() -> dict[str, Any]:
        provider.key_reads += 1
        kinds = {True: jwt.algorithms.RSAAlgorithm, False: jwt.algorithms.ECAlgorithm}
        published = [
            {
                **json.loads(kinds[isinstance(key, rsa.RSAPrivateKey)].to_jwk(key.public_key())),
                "kid": name,
                "use": "sig",
            }
            for name, key in provider.keys.items()
        ]
        return {"keys": published}

    @app.get("/authorization")
    def authorize(request: Request) -> Response:
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        provider.codes[code] = {**query, "person": dict(provider.person)}
        answer = {"code": code, "state": query["state"]}
        if provider.says_issuer is not None:
            answer["iss"] = provider.says_issuer
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", 302)

    @app.post("/token")
    async def give_token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        is_known = request.headers.get("authorization") == f"Basic {basic}"
        if provider.is_public:
            is_known = form.get("client_id") == CLIENT and "authorization" not in request.headers
        if not is_known:
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = provider.codes.pop(form["code"], {"redirect_uri": None, "code_challenge": ""})
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (asked["redirect_uri"], asked["code_challenge"]) != (form["redirect_uri"], challenge):
            return JSONResponse({"error": "invalid_grant"}, 400)
        person = asked["person"]
        own = {name: value for name, value in person.items() if name not in provider.userinfo_only}
        claims = {**own, "aud": CLIENT, "nonce": asked["nonce"], **provider.changes}
        provider.named = person
        return JSONResponse(
            {"token_type": "Bearer", "access_token": "opaque", "id_token": provider.make_token(**claims)}
        )

    @app.get("/userinfo")
    def tell_more() -> dict[str, Any]:
        return provider.named

    @app.get("/end_session")
    def end_session(request: Request) -> Response:
        provider.ended.append(dict(request.query_params))
        return RedirectResponse(request.query_params["post_logout_redirect_uri"], 302)

    return app


@contextmanager
def run_provider() -> Iterator[Provider]:
    """Run a provider until the end of the block. Its host is `localhost`: another site than 127.0.0.1 for browsers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        provider = Provider(f"http://localhost:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(_make_app(provider), log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            wait_until(lambda: server.started, "the provider")
            yield provider
        finally:
            server.should_exit = True
            thread.join()
