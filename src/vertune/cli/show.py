"""`vertune show`: describes a dataset, model, report, backbone or run in a few lines, or with --all prints its complete manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact, Home

PANEL = ("Look around", 3)

_HIDDEN = ("asked", "format")
"""Manifest entries that only --json prints: the config before its `auto` values were resolved, and the format version."""
_LABELS = 6
"""Maximum number of labels that are listed."""


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An id, a name, an alias (name@live), or a folder.")],
    all: Annotated[bool, typer.Option("--all", help="Show everything that the manifest contains.")] = False,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Describe a dataset, model, report or run.

    The description says what it is, how good it is, where it comes from, and how to use it. With --all, everything that
    its manifest contains is shown: a file with the config, the metrics, the versions of packages and the like.
    """
    from vertune.core.artifact import Home
    from vertune.steps.remove import find

    store = Home(home)
    artifact = find(store, name)
    if json:
        output.as_json(artifact.manifest)
    elif all:
        _show_manifest(artifact)
    else:
        shelf = "runs" if artifact.manifest.get("status") != "done" else str(artifact.manifest.get("shelf"))
        facts, commands = _DESCRIBERS.get(shelf, _describe_other)(artifact, store)
        output.say(artifact.id, "bold")
        output.facts(facts)
        output.next_steps(*commands, f"vertune show {artifact.id} --all")


def _show_manifest(artifact: Artifact) -> None:
    """Print all entries of a manifest, except those that only --json prints."""
    import yaml

    from vertune.core.files import folder_size

    shown = {key: value for key, value in artifact.manifest.items() if value not in (None, [], {}) and key not in _HIDDEN}
    location = {"folder": output.relative(artifact.folder), "size": output.size(folder_size(artifact.folder))}
    output.facts({**location, **{key: value for key, value in shown.items() if not isinstance(value, (dict, list))}})
    for key, value in shown.items():
        if isinstance(value, (dict, list)):
            output.say()
            output.say(key, "bold")
            output.say(yaml.safe_dump(value, allow_unicode=True, sort_keys=False, default_flow_style=None, width=110).rstrip())


Description = tuple[dict[str, Any], list[str]]
"""Names and values to print, and the commands with which the user may go on."""


def _describe_model(model: Artifact, home: Home) -> Description:
    """Describe a trained or compressed model."""
    from vertune.core.files import folder_size
    from vertune.evaluation.recorded import recorded
    from vertune.reports.verdict import verdict

    manifest = model.manifest
    evaluated = recorded(model)
    aliases = [alias for alias, target in home.aliases().items() if target == model.id]
    card = model.folder / "README.md"
    facts = {
        "what": _task(manifest["config"]),
        **_figures(model),
        "advice": verdict(evaluated).headline if evaluated else None,
        "data": _data(manifest, home),
        "method": _method(manifest),
        "made": _when(manifest),
        "live as": ", ".join(aliases) or "no alias points to it",
        "folder": f"{output.relative(model.folder)}, {output.size(folder_size(model.folder))}",
        "card": output.relative(card) if card.exists() else None,
        "report": _report(home, evaluated),
    }
    name = manifest["name"] if f"{manifest['name']}@live" in aliases else model.id
    commands = [f'vertune predict {name} "a text"'] if evaluated else [f"vertune evaluate {name}", f'vertune predict {name} "a text"']
    return facts, commands


def _describe_dataset(dataset: Artifact, home: Home) -> Description:
    """Describe a prepared dataset."""
    from vertune.core.files import read_json

    manifest = dataset.manifest
    rows = {name: count for name, count in (manifest.get("rows") or {}).items() if count}
    file = dataset.folder / "report.json"
    warnings = read_json(file).get("warnings", []) if file.exists() else []
    models = [model.id for model in home.shelf("models") if dataset.id in model.parents]
    facts = {
        "what": "a dataset for " + _task({**manifest["config"], **({"task": manifest["task"]} if "task" in manifest else {})}),
        "rows": ", ".join(f"{name} {count:,}" for name, count in rows.items()),
        "source": _source(manifest["config"]),
        "warnings": f"{len(warnings)}, the first: {warnings[0]}" if warnings else "none",
        "made": _when(manifest),
        "models": ", ".join(models) or "none yet",
        "folder": output.relative(dataset.folder),
        "report": output.relative(dataset.folder / "report.html"),
    }
    return facts, []


def _describe_report(report: Artifact, home: Home) -> Description:
    """Describe the report of an evaluation."""
    from vertune.core.files import read_json
    from vertune.reports.verdict import verdict

    if not (report.folder / "metrics.json").exists():
        return _describe_other_report(report)
    measured = read_json(report.folder / "metrics.json")
    errors = report.folder / "errors.csv"
    facts = {
        "what": f"a report on {measured['model']}",
        **_figures(report),
        "advice": verdict(measured).headline,
        "made": _when(report.manifest),
        "page": output.relative(report.folder / "report.html"),
        "errors": output.relative(errors) if errors.exists() else None,
    }
    return facts, [f"vertune show {measured['model']}"]


def _describe_other_report(report: Artifact) -> Description:
    """Describe the report of another step than an evaluation, such as the gate."""
    manifest = report.manifest
    facts = {
        "what": f"a report of the step {manifest.get('step')} on {' and '.join(report.parents)}",
        "verdict": manifest.get("headline"),
        "made": _when(manifest),
        "page": output.relative(report.folder / "report.html"),
    }
    return facts, [f"vertune show {parent}" for parent in report.parents[:1]]


def _describe_run(run: Artifact, home: Home) -> Description:
    """Describe an unfinished step: what it does or did, whether it works, and why it ended."""
    manifest = run.manifest
    state = f"{manifest.get('status')}, by process {manifest['pid']}" if run.in_use else str(manifest.get("status"))
    events = run.events()
    facts = {
        "what": f"an unfinished run of the step {manifest.get('step')}",
        "status": "interrupted: its process ended" if state == "running" and not run.in_use else state,
        "error": manifest.get("error"),
        "last event": events[-1]["event"] if events else None,
        "made from": ", ".join(manifest.get("parents") or ()) or None,
        "folder": output.relative(run.folder),
    }
    if run.in_use:
        return facts, []
    again = ["vertune train run.yaml --resume"] if manifest.get("step") == "train" else []
    return facts, [*again, f"vertune remove {run.id}"]


def _describe_other(artifact: Artifact, home: Home) -> Description:
    """Describe a backbone, or an artifact of another type."""
    from vertune.core.files import folder_size

    verticals = sorted(path.name for path in (artifact.folder / "verticals").glob("*"))
    base = (artifact.manifest.get("encoder") or {}).get("base")
    facts = {
        "what": f"a copy of {base or 'a pretrained model'} that several models share in one server",
        "models": ", ".join(verticals) or "none",
        "made": _when(artifact.manifest),
        "folder": f"{output.relative(artifact.folder)}, {output.size(folder_size(artifact.folder))}",
    }
    return facts, ["vertune serve"]


_DESCRIBERS: Mapping[str, Callable[[Artifact, Home], Description]] = {
    "models": _describe_model, "datasets": _describe_dataset, "reports": _describe_report, "runs": _describe_run,
}  # fmt: skip
"""Maps the type of an artifact to the function that describes it."""


def _task(config: Mapping[str, Any]) -> str:
    """Say what a model with this config answers: the task, and its first labels."""
    from vertune.core.kinds import Task

    task = Task.model_validate(config["task"])
    labels = list(task.known_labels)
    listed = ", ".join(labels[:_LABELS]) + (", …" if len(labels) > _LABELS else "")
    mapped = (config.get("data") or {}).get("fields") or {}
    reads = " and ".join(column.name for column in task.input_columns if column.required or column.name in mapped)
    return f"{task.name}: reads {reads}" + (f"; {len(labels)} labels: {listed}" if labels else "")


def _figures(artifact: Artifact) -> dict[str, str]:
    """Return the main metric of each split, such as `test`, formatted; the test rows come first."""
    from vertune.evaluation.recorded import entries_by_split
    from vertune.reports.scales import format_interval, format_value
    from vertune.reports.words import metric

    shown = {}
    for split, entries in entries_by_split(artifact).items():
        name, entry = next(((name, entry) for name, entry in entries.items() if entry["value"] is not None), (None, None))
        if name is not None and entry is not None:
            unit = metric(name).unit
            interval = f" (95 % interval {format_interval(entry['low'], entry['high'], unit)})" if entry["low"] is not None else ""
            shown[f"on {split}"] = f"{metric(name).title} {format_value(entry['value'], unit)}{interval}"
    return shown


def _data(manifest: Mapping[str, Any], home: Home) -> str:
    """Return the source of the rows, and how many rows of it are in each split."""
    from vertune.data.dataset import of_model

    dataset = of_model(dict(manifest), home)
    rows = {name: count for name, count in ((dataset.manifest.get("rows") if dataset else None) or {}).items() if count}
    counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    return _source(manifest["config"]) + (f": {counts}" if counts else "")


def _source(config: Mapping[str, Any]) -> str:
    """Return the path or the name of the source of the rows."""
    source = (config.get("data") or {}).get("source") or {}
    return output.relative(Path(source["path"])) if source.get("path") else str(source.get("name") or "data passed in Python")


def _method(manifest: Mapping[str, Any]) -> str:
    """Return the name of the training method and of the base model."""
    method, base = manifest["config"].get("method"), (manifest["config"].get("encoder") or {}).get("base")
    name = method["name"] if isinstance(method, Mapping) else str(method)
    return f"{name}, on the base {base}" if base else name


def _when(manifest: Mapping[str, Any]) -> str:
    """Return the date and time at which an artifact was finished or, if it is not, begun, with the time zone."""
    return f"{output.when(manifest)} UTC"


def _report(home: Home, evaluated: Mapping[str, Any] | None) -> str | None:
    """Return the path of the page with the figures of a model; None if there is none or it was deleted."""
    page = home.folder / "reports" / evaluated["report"] / "report.html" if evaluated else None
    return output.relative(page) if page and page.exists() else None
