"""The command `console`: the web pages of the fleet."""

from pathlib import Path
from typing import Annotated

import typer

from cli.arguments import collect_settings


def console(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to bind to. Default: console.host, 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0: any free port. Default: console.port, 8400.")
    ] = None,
    server: Annotated[str | None, typer.Option(help="URL of `prefixfleet serve`. Default: console.server.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file of a certificate: serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")] = None,
    settings: Annotated[
        Path | None, typer.Option(help="YAML file with the sections console and oidc. Default: params.yaml.")
    ] = None,
) -> None:
    """Show the fleet in a browser: every tenant, its versions and trials, the last runs.

    Without API keys anyone on this machine may read, and nobody may change anything. With keys, visitors log in: with
    an admin's key (`prefixfleet keys create --admin`) they see everything and can make changes, with a tenant's key
    they see that tenant. With the section `oidc` they can also log in at an identity provider.

    In a folder without a workspace the console reads MLflow (MLFLOW_TRACKING_URI) and the rollout's database
    (PREFIXFLEET_DATABASE), and its settings from the file --settings. To read the server's metrics it sends the admin's
    key in PREFIXFLEET_SERVER_KEY.
    """
    from cli.messages import show_progress
    from components.console.server import serve_console

    overrides = collect_settings(host=host, port=port, server=server, tls_certificate=tls_certificate, tls_key=tls_key)
    with show_progress():
        serve_console(ctx.obj, overrides, settings)
