"""`vertune list`: what is in the home; knows nothing of what an artifact holds inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact, Home


def run(
    shelf: Annotated[
        str | None, typer.Argument(metavar="[SHELF]", help="datasets, models, reports or runs; all where nothing is said.")
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """List datasets, models, reports, unfinished runs."""
    from vertune.core.artifact import SHELVES, Home
    from vertune.core.errors import UnknownName

    place = Home(home)
    shelves = (*SHELVES, "runs")
    if shelf is not None and shelf not in shelves:
        raise UnknownName("shelf", shelf, shelves)
    found = {name: contents(place, name) for name in ([shelf] if shelf else shelves)}
    if json:
        output.as_json({name: [artifact.manifest for artifact in artifacts] for name, artifacts in found.items()})
        return
    if not any(found.values()):
        output.note(f"Nothing in {output.near(place.folder)} yet.")
        output.then("vertune init DATA.csv")
        return
    aliases = _by_model(place)
    rows = [_row(name, artifact, aliases) for name, artifacts in found.items() for artifact in artifacts]
    output.table(["shelf", "id", "made", "size", "what"], rows)


def contents(home: Home, shelf: str) -> list[Artifact]:
    """The artifacts of one shelf, or the unfinished runs."""
    return home.runs() if shelf == "runs" else home.shelf(shelf)  # type: ignore[arg-type]


def _by_model(home: Home) -> dict[str, list[str]]:
    """The aliases of each model."""
    found: dict[str, list[str]] = {}
    for alias, model in home.aliases().items():
        found.setdefault(model, []).append(alias)
    return found


def _row(shelf: str, artifact: Artifact, aliases: dict[str, list[str]]) -> list[str]:
    from vertune.core.errors import StorageError
    from vertune.core.files import folder_size

    try:
        manifest = artifact.manifest
    except StorageError:
        return [shelf, artifact.id, "", "", "broken: its manifest can't be read"]
    made = str(manifest.get("finished") or manifest.get("created") or "")[:16].replace("T", " ")
    return [shelf, artifact.id, made, output.size(folder_size(artifact.folder)), _what(manifest, aliases.get(artifact.id, []))]


def _what(manifest: dict, aliases: list[str]) -> str:  # type: ignore[type-arg]
    """The one thing that tells an artifact from the next: its rows, its metric, its state."""
    if manifest.get("status") != "done":
        return f"{manifest.get('status')}: {manifest.get('error') or 'not finished'}"
    parts = list(aliases)
    rows = manifest.get("rows")
    if isinstance(rows, dict):
        parts.append(", ".join(f"{name} {count:,}" for name, count in rows.items() if count))
    for split, metrics in (manifest.get("metrics") or {}).items():
        first = (
            next(((name, value) for name, value in metrics.items() if isinstance(value, (int, float))), None)
            if isinstance(metrics, dict)
            else None
        )
        if first:
            parts.append(f"{split} {first[0]} {first[1]:.4f}")
    return ", ".join(parts)
