"""`vertune serve`: starts the HTTP server, and prints which models it serves and how to call it."""

from __future__ import annotations

import os
import sys
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from pathlib import Path

    from vertune.runtime.fleet import Deployment
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
    log: Annotated[str, typer.Option("--log", metavar="text|json", help="How the log is written.")] = "text",
    require_signed: options.RequireSigned = None,
    watch: Annotated[str | None, typer.Option("--watch", metavar="FILE", help="Monitor, alert and retrain as this file says.")] = None,
    set: options.Set = None,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Serve models over HTTP, by default all live ones.

    A model is live if an alias NAME@live points to it. A model that was never served is converted to ONNX first, while the
    others answer.
    """
    # set before NumPy is loaded: on the small matrices of classifier heads, several threads would only wait for one another
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from vertune.core.artifact import Home
    from vertune.server.logs import configure
    from vertune.server.run import serve
    from vertune.server.service import Service
    from vertune.server.settings import changed
    from vertune.store.database import Database
    from vertune.store.keys import Keys

    files = {"cert": tls_cert, "key": tls_key, "client_ca": tls_client_ca}
    tls = [f"tls.{name}={file}" for name, file in files.items() if file]
    written = {
        "host": host, "port": port, "open": open, "behind_proxy": behind_proxy, "log": log, "require_signed": require_signed,
        "watch": watch,
    }  # fmt: skip
    settings = changed(written, [*tls, *(set or [])])
    settings.check()
    configure(settings.log)
    where = Home(home)
    with nullcontext() if open and not settings.traffic.keep else closing(Database.of_home(where.folder, database)) as opened:
        service = Service(settings, where, opened, only=frozenset(names or ()))
        service.aliases.require(some=service.jobs is None)  # a job can make the first model
        keys = None if open or opened is None else Keys(opened)
        greeting = _Greeting(service, keys)
        service.changed = greeting.update
        serve(service, keys, greeting.listen)


@dataclass(slots=True)
class _Greeting:
    """Prints where the server listens, which models it serves as soon as the first ones are loaded, and later which ones follow."""

    service: Service
    keys: Keys | None
    url: str = ""
    _shown: dict[str, str] = field(default_factory=dict)
    """By name, the model or the state that was printed last."""
    _explained: bool = False
    """Whether the URL and an example request were printed."""

    def listen(self, url: str) -> None:
        """Print the URL; if there are no API keys yet, also create a key for the administrator and print its secret."""
        self.url = url
        output.note(f"Listening at {url}; the models are being loaded.")
        if self.keys is not None and not len(self.keys):
            _create_first_key(self.keys, self.service.home.folder)

    def update(self) -> None:
        """Print what changed in the served models and in those that are not served yet; with the first served one, print an example."""
        deployments, pending = self.service.answers.fleet.deployments, self.service.aliases.pending
        shown = {**{name: one.state for name, one in pending.items()}, **{name: one.model.id for name, one in deployments.items()}}
        rows = [
            [name, one.task.name, one.precision, "shared" if one.shared else "alone", one.model.id]
            for name, one in sorted(deployments.items())
            if self._shown.get(name) != one.model.id
        ]
        if rows:
            output.table(["vertical", "task", "precision", "backbone", "model"], rows)
        for name, one in sorted(pending.items()):
            if self._shown.get(name) != one.state and name not in deployments and not one.why:  # reasons are logged
                output.note(f"{name} is not served yet: its state is '{one.state}'.", style="yellow")
        self._shown = shown
        if deployments and not self._explained:
            self._explained = True
            self._explain(deployments[min(deployments)])

    def _explain(self, deployment: Deployment) -> None:
        """Print the URL and an example request."""
        header = "" if self.keys is None else ' -H "Authorization: Bearer $VERTUNE_KEY"'
        inputs = [column.name for column in deployment.task.input_columns if column.required]
        body = '{"texts": ["…"]}' if len(inputs) == 1 else '{"records": [{' + ", ".join(f'"{name}": "…"' for name in inputs) + "}]}"
        console = f"console: {self.url}/; " if self.service.settings.console else ""
        output.note(f"Answering at {self.url}; {console}documentation: {self.url}/docs. Stop with Ctrl-C.")
        output.next_steps(f"curl {self.url}/v1/verticals/{deployment.name}/predict{header} -H 'Content-Type: application/json' -d '{body}'")


def _create_first_key(keys: Keys, folder: Path) -> None:
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
    file = folder / "admin.key"
    write_private(file, secret + "\n")
    output.facts({"admin's key, in a file": output.relative(file)})
    output.note(f"Store the key elsewhere and delete the file: export VERTUNE_KEY=$(cat {output.relative(file)})")
