"""A login at the provider of the tests, as a browser goes through it: there and back, and where the pages lead."""

from typing import Any

import httpx
from fastapi.testclient import TestClient
from oidc_provider import CLIENT, Provider

from components.config.oidc import OidcConfig

SESSION, LOGIN = "prefixfleet_console", "prefixfleet_login"
CALLBACK = "/console/login/oidc/callback"


class Timer:
    """Monotonic seconds that a test sets."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def make_config(provider: Provider, **values: Any) -> OidcConfig:
    """The section `oidc` for this provider; `values` replace its own."""
    roles = {"admin": ["fleet-admins"], "operator": ["fleet-operators"], "viewer": ["fleet-viewers"]}
    tenant = {"tenant_claim": "groups", "tenant_pattern": "fleet-tenant-*"}
    return OidcConfig(**{"issuer": provider.url, "client_id": CLIENT, "roles": roles, **tenant, **values})


def leave(client: TestClient, page: str = "/console/nights") -> Any:
    """Go to the provider, log in there, and return the address to which it sends the browser."""
    answer = client.get("/console/login/oidc", params={"next": page})
    assert answer.status_code == 303, answer.text
    return httpx.get(answer.headers["location"]).headers["location"]


def log_in(client: TestClient, page: str = "/console/nights") -> Any:
    """Log in, and return the answer to the way back."""
    return client.get(leave(client, page))


def find_target(answer: Any) -> str:
    """Where the page leads."""
    return str(answer.text.partition('content="0;url=')[2].partition('"')[0])


def find_token(page: str) -> str:
    """The token of a page's forms."""
    return page.partition('name="form_token" value="')[2].partition('"')[0]
