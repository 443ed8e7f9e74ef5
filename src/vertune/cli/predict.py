"""`vertune predict`: answers a text, a file, or standard input; knows nothing of how a model answers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact

_SHOWN = 5
"""Probabilities that are shown of one answer; --json gives all."""


def run(
    model: options.Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="The input; two for a task that reads two texts. '-' reads standard input."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Answer every row of a file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where rows and answers go: .csv, .jsonl or .parquet.")] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Answer a text, a file, or standard input."""
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError

    artifact = Home(home).get("models", model)
    if file is not None:
        if out is None or texts:
            raise ConfigError(f"A file is answered into another one: vertune predict {model} --file {file} --out answers.csv")
        _answer_file(artifact, file, out)
    elif out is not None:
        raise ConfigError(f"--out goes with --file: vertune predict {model} --file rows.csv --out {out}")
    elif texts and texts != ["-"]:
        _answer_texts(artifact, texts, json)
    elif texts or not sys.stdin.isatty():
        _answer_lines(artifact, sys.stdin)
    else:
        raise ConfigError(f'Nothing to answer. Give a text: vertune predict {model} "a text"; or a file: --file rows.csv --out answers.csv')


def _answer_texts(artifact: Artifact, texts: list[str], json: bool) -> None:
    from vertune.data.validate import record_of_texts
    from vertune.steps.predict import opened, predict

    predictor = opened(artifact)
    given = record_of_texts(predictor, texts)
    answer = predict(predictor, [given])[0]
    if json:
        output.as_json(answer)
    else:
        show(answer, next(reversed(given.values())))


def _answer_lines(artifact: Artifact, lines: Iterable[str]) -> None:
    """One JSON answer a line; a line that starts with a brace is a record, any other one a text."""
    import json

    from vertune.core.errors import DataError
    from vertune.data.validate import record_of_texts
    from vertune.steps.predict import opened, predict

    predictor = opened(artifact)
    records: list[dict[str, Any]] = []
    for number, line in enumerate(_readable(lines), 1):
        text = line.strip()
        if text.startswith("{"):
            try:
                records.append(dict(json.loads(text)))
            except ValueError as error:
                raise DataError(f"Line {number} of standard input starts like JSON, but is none: {error}.") from error
        elif text:
            records.append(dict(record_of_texts(predictor, [text])))
    for answer in predict(predictor, records) if records else []:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")


def _readable(lines: Iterable[str]) -> Iterator[str]:
    """The lines, as long as they are UTF-8; which of two errors other bytes give depends on the locale (PEP 538, PEP 540)."""
    from vertune.core.errors import DataError

    good = 0
    try:
        for line in lines:
            line.encode()
            good += 1
            yield line
    except UnicodeError as error:
        raise DataError(
            f"Expected UTF-8 on standard input, but after {good} lines other bytes came. "
            "Convert the text, or answer it as a file, whose encoding is recognised: --file texts.csv --out answers.csv"
        ) from error


def _answer_file(artifact: Artifact, file: Path, out: Path) -> None:
    from vertune.cli.progress import watching
    from vertune.steps.predict import predict_file

    with watching(f"predict {file.name}") as progress:
        found = predict_file(artifact, file, out, progress)
    output.facts({"rows": len(found.answers), "answered": len(found.answers) - len(found.errors), "file": output.near(out)})
    if found.errors:
        row, reason = next(iter(found.errors.items()))
        output.note(
            f"{len(found.errors)} rows could not be answered; answer_error says why. The first is row {row + 1}: {reason}.", "yellow"
        )


def show(answer: dict[str, Any], text: str = "") -> None:
    """Print one answer of any task: its words and numbers first, then probabilities, spans of the text, and vectors, each by its form."""
    spans = {name: value for name, value in answer.items() if _has_entries(value, Mapping)}
    vectors = {name: value for name, value in answer.items() if _has_entries(value, float)}
    tables = {name: value for name, value in answer.items() if isinstance(value, Mapping)}
    rest = {name: value for name, value in answer.items() if name not in {*spans, *vectors, *tables, "truncated"}}
    output.facts({name: value if value not in ([], "") else "none" for name, value in rest.items()})
    for values in tables.values():
        _show_likely(values)
    for found in spans.values():
        rows = [[span["label"], text[span["start"] : span["end"]], span["start"], span["end"]] for span in found]
        output.table(["label", "text", "from", "to"], rows)
    for name, vector in vectors.items():
        output.say(f"{name} of {len(vector)} numbers: {', '.join(f'{value:.3f}' for value in vector[:6])} …; --json shows all")
    if answer.get("truncated"):
        output.note("The text was longer than the model reads, so only part of it was used.", "yellow")


def _has_entries(value: Any, kind: type) -> bool:
    """Whether this is a list with entries of this kind."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _show_likely(probabilities: Mapping[str, float]) -> None:
    """Print the most probable labels, where there are several."""
    if len(probabilities) < 2:
        return
    output.say()
    likely = sorted(probabilities.items(), key=lambda item: -item[1])
    output.table(["likely", "probability"], likely[:_SHOWN])
    if len(likely) > _SHOWN:
        output.note(f"and {len(likely) - _SHOWN} more; --json shows all")
