"""`vertune serve`: starts the HTTP server, and prints which models it serves and how to call it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.server.service import Service
    from vertune.store.keys import Keys

PANEL = ("Serve models", 1)


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VERTICAL]...", help="The names of the models to serve.", show_default="all that are live"),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 chooses a free one.")] = 8000,
    tls_cert: Annotated[str, typer.Option("--tls-cert", metavar="FILE", help="The TLS certificate (PEM); read again on change.")] = "",
    tls_key: Annotated[str, typer.Option("--tls-key", metavar="FILE", help="The private key of the certificate (PEM).")] = "",
    tls_client_ca: Annotated[
        str, typer.Option("--tls-client-ca", metavar="FILE", help="Accept only clients with a certificate signed by one of these (PEM).")
    ] = "",
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A reverse proxy ends TLS and limits the connections of each address.")
    ] = False,
    open: Annotated[bool, typer.Option("--open", help="Predict without API keys; needs a host such as 127.0.0.1.")] = False,
    require_signed: options.RequireSigned = None,
    set: options.Set = None,
    home: options.Home = None,
) -> None:
    """Serve models over HTTP, by default all live ones.

    A model is live if an alias NAME@live points to it.
    """
    # set before NumPy is loaded: on the small matrices of classifier heads, several threads would only wait for one another
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from vertune.core.artifact import Home
    from vertune.server.run import keys_of, serve
    from vertune.server.service import Service
    from vertune.server.settings import changed

    files = {"cert": tls_cert, "key": tls_key, "client_ca": tls_client_ca}
    tls = [f"tls.{name}={file}" for name, file in files.items() if file]
    settings = changed(
        {"host": host, "port": port, "open": open, "behind_proxy": behind_proxy, "require_signed": require_signed}, [*tls, *(set or [])]
    )
    settings.check()
    where = Home(home)
    service = Service(settings, where, only=frozenset(names or ()))
    _load(service)
    keys = None if open else keys_of(where)
    try:
        serve(service, keys, lambda url: _greet(url, service, keys))
    finally:
        if keys is not None:
            keys.close()


def _load(service: Service) -> None:
    """Load the models to serve: those that an alias NAME@live points to.

    Models are served as ONNX graphs; those that were not converted to ONNX yet are converted first. Raises NotFound if
    there is no model to serve, ModelError if none of the models can be served.
    """
    from vertune.core.errors import ModelError, NotFound
    from vertune.server.following import prepare

    aliases = service.aliases
    live = aliases.required()
    if not live:
        raise NotFound(
            f"No alias NAME@live points to a model in {service.home.folder}, so there is nothing to serve. "
            "Train a model: vertune fit RUN.yaml; or choose one: vertune alias NAME@live MODEL"
        )
    unprepared = aliases.unprepared(live)
    if unprepared:
        output.note(f"Preparing models for serving, which is needed only once: {', '.join(unprepared)} …")
        if prepare(service.home, sorted(live)).wait():
            output.note("Not all models could be prepared; see the messages above.")
    for name, error in aliases.load().items():
        output.note(f"{name} is not served: {error}", style="yellow")
    if not service.answers.fleet.deployments:
        raise ModelError("None of the live models can be served. See the reasons above.")


def _greet(url: str, service: Service, keys: Keys | None) -> None:
    """Print the served models and an example request.

    If there are no API keys yet, also create a key for the administrator and print its secret.
    """
    deployments = sorted(service.answers.fleet.deployments.values(), key=lambda one: one.name)
    rows = [[one.name, one.task.name, one.precision, "shared" if one.shared else "alone", one.model.id] for one in deployments]
    output.table(["vertical", "task", "precision", "backbone", "model"], rows)
    if keys is not None and not len(keys):
        _create_first_key(keys)
    header = "" if keys is None else ' -H "Authorization: Bearer $VERTUNE_KEY"'
    first = deployments[0]
    inputs = [column.name for column in first.task.input_columns if column.required]
    body = '{"texts": ["…"]}' if len(inputs) == 1 else '{"records": [{' + ", ".join(f'"{name}": "…"' for name in inputs) + "}]}"
    output.note(f"Answering at {url}; documentation: {url}/docs. Stop with Ctrl-C.")
    output.next_steps(f"curl {url}/v1/verticals/{first.name}/predict{header} -H 'Content-Type: application/json' -d '{body}'")


def _create_first_key(keys: Keys) -> None:
    """Create a key for the administrator, and print its secret if standard output is a terminal.

    Otherwise, standard output may be a log that others read, so the secret is written to a file that only this user can read.
    """
    from vertune.core.files import write_private

    secret, _ = keys.create("admin", ["admin"])
    output.say()
    if sys.stdout.isatty():
        output.facts({"admin's key, shown only now": secret})
        output.note("Store this key: export VERTUNE_KEY=vt_…; create keys with fewer permissions: vertune key create NAME --scope predict")
        return
    file = keys.file.with_name("admin.key")
    write_private(file, secret + "\n")
    output.facts({"admin's key, in a file": output.relative(file)})
    output.note(f"Store the key elsewhere and delete the file: export VERTUNE_KEY=$(cat {output.relative(file)})")
