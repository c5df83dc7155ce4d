"""The command that serves all tenants."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to bind to. Default: serve.host, 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one. Default: serve.port.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file; with it the server speaks HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
) -> None:
    """Answer for all tenants from one base, by OpenAI's completions protocol.

    `model` is a tenant (its champion, or by its rollout the challenger), `tenant@challenger`, `tenant@champion` or
    `tenant@<version>`. Champions and challengers are those that MLflow names, followed while serving. Other addresses
    than loopback want API keys (`prefixfleet keys create`). SIGTERM lets what is in flight finish.

    /docs has the API, /healthz, /readyz and /metrics what watches the server.
    """
    from components.serving.http.server import serve as run
    from components.stages.workspace import Workspace

    given = {"host": host, "port": port, "tls_certificate": tls_certificate, "tls_key": tls_key}
    changed = {
        name: str(value) if isinstance(value, Path) else value for name, value in given.items() if value is not None
    }
    run(Workspace(ctx.obj), changed)
