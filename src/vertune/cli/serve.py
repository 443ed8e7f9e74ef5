"""`vertune serve`: answers over HTTP; knows nothing of requests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.server.service import Service
    from vertune.store.keys import Keys


def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[VERTICAL]...", help="What is served.", show_default="all that is live")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes any.")] = 8000,
    open: Annotated[bool, typer.Option("--open", help="Answer without a key; on this machine's own address only.")] = False,
    set: options.Set = None,
    home: options.Home = None,
) -> None:
    """Answer over HTTP with every live model of the home."""
    # before NumPy is loaded: for the small products of heads its threads would wait busily for one another
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from vertune.core.artifact import Home
    from vertune.server.run import keys_of, serve
    from vertune.server.service import Service
    from vertune.server.settings import changed

    settings = changed({"host": host, "port": port, "open": open}, set or [])
    settings.check()
    place = Home(home)
    service = Service(settings, place, only=frozenset(names or ()))
    _prepare(service)
    keys = None if open else keys_of(place)
    try:
        serve(service, keys, lambda url: _greet(url, service, keys))
    finally:
        if keys is not None:
            keys.close()


def _prepare(service: Service) -> None:
    """Have made ready what is not, and bring all into memory."""
    from vertune.core.errors import ModelError, NotFound
    from vertune.server.service import prepare

    if not service.wanted():
        raise NotFound(
            f"No model of {service.home.folder} is live, so there is nothing to serve. Train one: vertune fit RUN.yaml; "
            "or say which shall be: vertune alias NAME@live MODEL"
        )
    unready = service.unready()
    if unready:
        output.note(f"Making ready to be served, once: {', '.join(unready)} …")
        if prepare(service.home, sorted(service.wanted())).wait():
            output.note("Not all models could be made ready; see above.")
    troubles = service.follow()
    for name, why in troubles.items():
        output.note(f"{name} is not served: {why}", style="yellow")
    if not service.fleet.deployments:
        raise ModelError("None of the live models can be served; see above.")


def _greet(url: str, service: Service, keys: Keys | None) -> None:
    """What is served, and how to ask it; on the first start the key of an admin, once."""
    served = sorted(service.fleet.deployments.values(), key=lambda one: one.name)
    rows = [[one.name, one.task.name, one.precision, "shared" if one.shared else "alone", one.model.id] for one in served]
    output.table(["vertical", "task", "precision", "backbone", "model"], rows)
    if keys is not None and not len(keys):
        output.say()
        output.facts({"key of an admin, shown this once": keys.create("admin", ["admin"])[0]})
        output.note("Keep it: export VERTUNE_KEY=vt_…; make others with fewer rights: vertune key create NAME --scope predict")
    header = "" if keys is None else ' -H "Authorization: Bearer $VERTUNE_KEY"'
    first = served[0]
    inputs = [column.name for column in first.task.columns if column.role == "input" and column.required]
    body = '{"texts": ["…"]}' if len(inputs) == 1 else '{"records": [{' + ", ".join(f'"{name}": "…"' for name in inputs) + "}]}"
    output.note(f"Answering at {url}; what may be asked: {url}/docs. Stop with Ctrl-C.")
    output.next_steps(f"curl {url}/v1/verticals/{first.name}/predict{header} -H 'Content-Type: application/json' -d '{body}'")
