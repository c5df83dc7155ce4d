"""The command `serve`: the server of all tenants."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments import collect_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from components.serving.http.server import Mount
    from components.serving.http.service import Service
    from components.stages.workspace import Workspace


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to bind to. Default: serve.host, 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free port. Default: serve.port.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file of a certificate: serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    engine: Annotated[
        str | None, typer.Option(help="local, or vllm (docs/engines.md). Default: serve.engine, local.")
    ] = None,
    next_base: Annotated[
        bool, typer.Option("--next-base", help="Serve the tenants that have moved to next_base, on that base.")
    ] = False,
) -> None:
    """Serve all tenants from one base, with OpenAI's completions protocol.

    `model` in a request is a tenant (answered by its champion or, during a trial, by the challenger),
    `tenant@champion`, `tenant@challenger` or `tenant@<version>`. The server follows the aliases in MLflow while it
    runs. An address other than loopback needs API keys (`prefixfleet keys create`). After SIGTERM requests in flight
    are finished.

    /docs has the API; /healthz, /readyz and /metrics are for monitoring; with `serve.console: true` /console has the
    pages of `prefixfleet console`.
    """
    from components.serving.http.server import serve as run
    from components.stages.next_base_view import NextBaseView
    from components.stages.workspace import Workspace

    overrides = collect_settings(host=host, port=port, tls_certificate=tls_certificate, tls_key=tls_key, engine=engine)
    workspace = Workspace(ctx.obj)
    chosen = NextBaseView(workspace) if next_base else workspace
    run(chosen, overrides, make_console_mount(workspace))


def make_console_mount(workspace: "Workspace") -> "Mount":
    """Return what adds the console to a server's application, if `serve.console` is set."""

    def mount(app: "FastAPI", service: "Service") -> None:
        if not service.params.serve.console:
            return
        from components.console.app import build_console
        from components.console.server import mount_console
        from components.console.sources import Sources

        sources = Sources(
            workspace.root,
            workspace.registry,
            service.database,
            workspace,
            lambda: service.metrics_page.render().decode(),
        )
        mount_console(app, build_console(sources, workspace.params.console, workspace.params.oidc))

    return mount
