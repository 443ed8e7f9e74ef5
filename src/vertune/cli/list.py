"""`vertune list`: lists the datasets, models, reports, backbones and unfinished runs in the home folder.

A backbone is a pretrained model that several fine-tuned models share in one server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact, Home

PANEL = ("Look around", 2)


def run(
    shelf: Annotated[
        str | None, typer.Argument(metavar="SHELF", help="datasets, models, reports, backbones, products or runs.", show_default="all")
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """List datasets, models, reports, products and runs."""
    from vertune.core.artifact import SHELVES, Home
    from vertune.core.errors import UnknownName

    store = Home(home)
    shelves = (*SHELVES, "runs")
    if shelf is not None and shelf not in shelves:
        raise UnknownName("shelf", shelf, shelves)
    by_shelf = {name: contents(store, name) for name in ([shelf] if shelf else shelves)}
    if json:
        output.as_json({name: [artifact.manifest for artifact in artifacts] for name, artifacts in by_shelf.items()})
        return
    if not any(by_shelf.values()):
        output.note(f"There is nothing in {output.relative(store.folder)} yet.")
        output.next_steps("vertune init DATA.csv")
        return
    aliases = _by_model(store)
    rows = [_row(name, artifact, aliases) for name, artifacts in by_shelf.items() for artifact in artifacts]
    output.table(["shelf", "id", "created", "size", "content"], rows)


def contents(home: Home, shelf: str) -> list[Artifact]:
    """Return all artifacts (folders with a manifest) of one kind in the home folder.

    `shelf` names the kind: datasets, models, reports or backbones (pretrained models that several models share); for
    `runs`, the unfinished artifacts are returned.
    """
    return home.runs() if shelf == "runs" else home.shelf(shelf)  # type: ignore[arg-type]


def _by_model(home: Home) -> dict[str, list[str]]:
    """Return a dict that maps the id of a model or product to the list of aliases that point to it."""
    from vertune.core.artifact import ALIASED

    aliases: dict[str, list[str]] = {}
    for kind in ALIASED:
        for alias, target in home.aliases(kind).items():
            aliases.setdefault(target, []).append(alias)
    return aliases


def _row(shelf: str, artifact: Artifact, aliases: dict[str, list[str]]) -> list[str]:
    """Return the table row of one artifact: its kind, id, time, size and a summary.

    `aliases` maps ids of models to their aliases. If the artifact's manifest can't be read, the row says so.
    """
    from vertune.core.errors import StorageError
    from vertune.core.files import folder_size

    try:
        manifest = artifact.manifest
    except StorageError:
        return [shelf, artifact.id, "", "", "broken: its manifest can't be read"]
    return [
        shelf,
        artifact.id,
        output.when(manifest),
        output.size(folder_size(artifact.folder)),
        _summary(artifact, aliases.get(artifact.id, [])),
    ]


def _summary(artifact: Artifact, aliases: list[str]) -> str:
    """Summarise an artifact in one line: its aliases, its number of rows, and its main metric.

    The metric is that on the test rows or, if there is none, on the validation rows. For an unfinished artifact, the
    line contains its status and error instead.
    """
    from vertune.evaluation.recorded import metrics_by_split

    manifest = artifact.manifest
    if manifest.get("status") != "done":
        return f"{manifest.get('status')}: {manifest.get('error') or 'not finished'}"
    parts = list(aliases)
    rows = manifest.get("rows")
    if isinstance(rows, dict):
        parts.append(", ".join(f"{name} {count:,}" for name, count in rows.items() if count))
    for split, metrics in list(metrics_by_split(artifact).items())[:1]:
        first = next(((name, value) for name, value in metrics.items() if isinstance(value, (int, float))), None)
        if first:
            parts.append(f"{split} {first[0]} {first[1]:.4f}")
    return ", ".join(parts)
