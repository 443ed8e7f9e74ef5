"""`vertune app`: products on served models, such as customer service: from a pack to a chat that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Home
    from vertune.core.pack import Pack
    from vertune.products.evaluation import Evaluation
    from vertune.products.training import Trained
    from vertune.store.entries import Entry

PANEL = ("From a file to a model", 6)
Verb = Literal["init", "train", "eval", "serve", "list"]


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the product is called, such as shop.")],
    verb: Annotated[Verb, typer.Argument(metavar="init|train|eval|serve|list", help="What to do.")],
    what: Annotated[
        str | None, typer.Argument(metavar="[PACK|FILE]", help="init, train: a pack or its folder. eval: labelled conversations (JSONL).")
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="train: make it live even if its evaluation fails.")] = False,
    open: Annotated[bool, typer.Option("--open", help="serve: answer without API keys; for this machine alone.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="serve: the port; 0 chooses a free one.")] = 8000,
    json: options.Json = False,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Make a product of a pack, evaluate it, and serve it.

    init copies a pack into the folder NAME, to be edited. train fits the models of its slots, builds the index, learns
    when a reply may be given, and evaluates the product on the conversations of the pack; NAME@live points to it unless
    it fails. What people have added to its FAQ in use, in the database of the server, becomes part of it. eval replays
    labelled conversations and says how often the product was wrong. serve starts the server with its models; vertune serve,
    which has more options, answers for all live products. list shows the versions of the product and the packs.
    """
    from vertune.core.artifact import Home

    store = Home(home)
    if verb == "init":
        _init(name, what)
    elif verb == "train":
        _train(name, what, store, database, accept, json=json)
    elif verb == "eval":
        _evaluate(name, what, store, json)
    elif verb == "serve":
        _serve(name, store, database, open, port)
    else:
        _list(name, store, json)


def _init(name: str, pack: str | None) -> None:
    """Copy a pack into a new folder in the working directory."""
    import shutil

    from vertune.core import pack as packs
    from vertune.core.errors import ConfigError
    from vertune.core.files import new_folder
    from vertune.core.names import check_name

    if pack is None:
        raise ConfigError(
            f"No pack was named; expected one of {', '.join(packs.names())}, or a folder. Write: vertune app {name} init PACK"
        )
    found = packs.open_pack(pack)
    with new_folder(Path(check_name(name))) as folder:
        for file in packs.files_of(found.folder):
            target = folder / file.relative_to(found.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    output.note(f"The pack is in {name}/: its answers, questions, flows, words and example messages can be edited there.")
    output.next_steps(f"vertune app {name} train")


def _pack(name: str, pack: str | None) -> Pack:
    """Return the pack that was named, or the one in the folder with the name of the product, or the one with this name."""
    from vertune.core.pack import FILE, open_pack

    return open_pack(pack if pack is not None else Path(name) if Path(name, FILE).is_file() else name)


def _added(name: str, home: Home, url: str | None) -> list[Entry]:
    """Return the entries that people have added to the product in use, from the database of the server, if there is one."""
    from vertune.store import entries
    from vertune.store.database import file_in

    if not url and not file_in(home.folder).exists():
        return []
    with options.opened(home.folder, url) as (_, database), database.reading() as connection:
        return entries.current(connection, name)


def _train(name: str, what: str | None, home: Home, url: str | None, accept: bool, json: bool) -> None:
    """Train a product, evaluate it, and make it live unless it fails."""
    from vertune.cli.progress import show_progress
    from vertune.core.errors import ModelError
    from vertune.products import live, training

    pack = _pack(name, what)
    with show_progress("app", quiet=json) as progress:
        trained = training.train(pack, name, home, progress, _added(name, home, url))
        judged = live.judge(trained.product, pack, home, progress)
        went = live.go_live(trained.product, home, judged, accept)
    if json:
        report = judged.report.id if judged else None
        output.as_json({"product": trained.product.id, "models": trained.models, "report": report, "live": went})
    else:
        _show_trained(trained, name)
        if judged is not None:
            output.say()
            _show(judged)
    if not went:
        raise ModelError(
            f"The product {trained.product.id} fails its evaluation, so {name}@live was not pointed to it; expected all checks to pass. "
            "Look at the report; to use it nevertheless, add --accept."
        )
    output.note(f"{name}@live points to {trained.product.id}.")
    output.next_steps(f"vertune app {name} serve")


def _show_trained(trained: Trained, name: str) -> None:
    """Print what a product is made of."""
    from vertune.products.product import vertical_of

    rows = [
        [slot, vertical_of(name, slot), id, "used again" if slot in trained.reused else "trained"] for slot, id in trained.models.items()
    ]
    output.table(["slot", "vertical", "model", ""], rows)
    thresholds = trained.learnt.get("thresholds") or {}
    sure = "none is sure enough" if thresholds.get("answer") is None else f"at a trust above {thresholds['answer']:.3f}"
    output.facts({
        "product": trained.product.id,
        "passages": trained.passages,
        "learnt from": f"{trained.learnt.get('messages', 0):,} labelled messages",
        "answers at once": sure,
    })  # fmt: skip


def _evaluate(name: str, file: str | None, home: Home, json: bool) -> None:
    """Replay labelled conversations, and fail if the product fails."""
    from vertune.cli.progress import show_progress
    from vertune.core.conversation import read_conversations
    from vertune.core.errors import ModelError
    from vertune.core.files import read_json
    from vertune.products import live
    from vertune.products.evaluation import FILE

    artifact = home.get("products", name)
    conversations = read_conversations(Path(file)) if file is not None else None
    with show_progress("app", quiet=json) as progress:
        found = live.evaluate(artifact, home, conversations, progress)
    if json:
        output.as_json(read_json(found.report.folder / FILE))
    else:
        _show(found)
    if found.verdict == "fail":
        raise ModelError(
            f"{artifact.id} fails: {next(one.why for one in found.checks if one.verdict == 'fail')} Expected all checks to pass. "
            "Look at the report."
        )


def _show(found: Evaluation) -> None:
    """Print the figures beside the baselines, the checks, and where the report is."""
    from vertune.reports.scales import format_interval, format_value

    rows = []
    for title, figures in {"": found.figures, **found.baselines}.items():
        for name, one in figures.items():
            interval = format_interval(one.low, one.high, "share") if one.of else ""
            rows.append([title, name.replace("_", " "), format_value(one.value, "share"), interval, f"{one.hits} of {one.of}"])
    output.table(["baseline", "figure", "value", "95 % interval", "counted"], rows)
    output.say()
    for check in found.checks:
        styles = {"pass": "green", "fail": "bold red", "unknown": "yellow"}
        output.say(f"{check.verdict:<7}  {check.name}: {check.why}", styles[check.verdict])
    for note in found.notes:
        output.say(note)
    output.note(f"The report: {output.relative(found.report.folder / 'report.html')}")


def _serve(name: str, home: Home, url: str | None, open: bool, port: int) -> None:
    """Start the server with the models of a product."""
    from vertune.cli import serve
    from vertune.products.product import Product, vertical_of

    artifact = home.get("products", name)
    content = Product.content_of(artifact)
    called = str(artifact.manifest["name"])
    output.note(f"Serving {artifact.id}: {', '.join(content.slots)}.")
    serve.run([vertical_of(called, slot) for slot in content.slots], port=port, open=open, home=home.folder, database=url)


def _list(name: str, home: Home, json: bool) -> None:
    """Print the versions of a product, the newest last, and the packs that there are."""
    from vertune.core import pack as packs
    from vertune.products.product import Product

    versions = [one for one in home.shelf("products") if one.manifest_or_empty.get("name") == name]
    live = home.aliases("products").get(f"{name}@live")
    if json:
        output.as_json({"live": live, "products": [one.manifest for one in versions], "packs": packs.names()})
        return
    rows = []
    for one in versions:
        content = Product.content_of(one)
        rows.append([one.id, output.when(one.manifest), content.pack, ", ".join(content.slots), "live" if one.id == live else ""])
    if rows:
        output.table(["product", "created", "pack", "slots", ""], rows)
    else:
        output.note(f"There is no product '{name}' in {output.relative(home.folder)} yet.")
    output.note(f"Packs: {', '.join(packs.names())}.")
    output.next_steps(f"vertune app {name} serve" if live else f"vertune app {name} train PACK")
