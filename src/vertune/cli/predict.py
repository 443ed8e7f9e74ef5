"""`vertune predict`: answers texts, a file, or standard input; knows nothing of how a model answers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact

_SHOWN = 5
"""Most probabilities that are shown of an answer; --json shows all."""


def run(
    model: options.Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="The text; two texts for a task on pairs; '-' to read lines from standard input."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A file whose rows to answer; needs --out.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write rows and answers to: .csv, .jsonl or .parquet.")
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Answer a text, the rows of a file, or standard input."""
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError

    artifact = Home(home).get("models", model)
    if file is not None:
        if texts:
            raise ConfigError(
                f"Both a text and --file were given. Give one of them: vertune predict {model} --file {file} --out answers.csv"
            )
        if out is None:
            raise ConfigError(
                f"--file needs --out, the file to write the answers to: vertune predict {model} --file {file} --out answers.csv"
            )
        _answer_file(artifact, file, out)
    elif out is not None:
        raise ConfigError(f"--out needs --file, the file to read rows from: vertune predict {model} --file rows.csv --out {out}")
    elif texts and texts != ["-"]:
        _answer_texts(artifact, texts, json)
    elif texts or not sys.stdin.isatty():
        _answer_lines(artifact, sys.stdin)
    else:
        raise ConfigError(
            f'There is nothing to answer. Give a text: vertune predict {model} "a text"; '
            f"or a file: vertune predict {model} --file rows.csv --out answers.csv"
        )


def _answer_texts(artifact: Artifact, texts: list[str], json: bool) -> None:
    from vertune.steps.predict import opened, predict, record_of_texts

    predictor = opened(artifact)
    record = record_of_texts(predictor, texts)
    answer = predict(predictor, [record])[0]
    if json:
        output.as_json(answer)
    else:
        show(answer, next(reversed(record.values())))


def _answer_lines(artifact: Artifact, lines: Iterable[str]) -> None:
    """Print one JSON answer per line; a line that starts with a brace is a record in JSON, any other line is a text."""
    import json

    from vertune.core.errors import DataError
    from vertune.steps.predict import opened, predict, record_of_texts

    predictor = opened(artifact)
    records: list[dict[str, Any]] = []
    for number, line in enumerate(_utf8(lines), 1):
        text = line.strip()
        if text.startswith("{"):
            try:
                records.append(dict(json.loads(text)))
            except ValueError as error:
                raise DataError(
                    f"Line {number} of standard input starts with '{{' but is not a JSON object: {error}. Correct the line."
                ) from error
        elif text:
            records.append(dict(record_of_texts(predictor, [text])))
    for answer in predict(predictor, records) if records else []:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")


def _utf8(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines; DataError at the first that is not UTF-8."""
    from vertune.core.errors import DataError

    number = 0
    try:
        for line in lines:
            line.encode()  # depending on the locale, bad bytes fail here or while reading (PEP 538, PEP 540)
            number += 1
            yield line
    except UnicodeError as error:
        raise DataError(
            f"Line {number + 1} of standard input is not UTF-8. Convert the text, or answer it as a file, whose encoding is detected: "
            "--file texts.csv --out answers.csv"
        ) from error


def _answer_file(artifact: Artifact, file: Path, out: Path) -> None:
    from vertune.cli.progress import show_progress
    from vertune.steps.predict import predict_file

    with show_progress(f"predict {file.name}") as progress:
        result = predict_file(artifact, file, out, progress)
    output.facts({"rows": len(result.answers), "answered": len(result.answers) - len(result.errors), "file": output.relative(out)})
    if result.errors:
        row, reason = next(iter(result.errors.items()))
        output.note(
            f"{len(result.errors)} rows could not be answered; see the column answer_error. The first, row {row + 1}: {reason}.", "yellow"
        )


def show(answer: dict[str, Any], text: str = "") -> None:
    """Print one answer for a person: the decision, then the most probable alternatives."""
    probabilities = answer.get("probabilities")
    rest = {name: value for name, value in answer.items() if name not in {"probabilities", "truncated", "spans", "vector"}}
    output.facts({name: value if value not in ([], "") else "none" for name, value in rest.items()})
    if isinstance(probabilities, dict) and len(probabilities) > 1:
        output.say()
        ranked = sorted(probabilities.items(), key=lambda item: -item[1])
        output.table(["label", "probability"], ranked[:_SHOWN])
        if len(ranked) > _SHOWN:
            output.note(f"and {len(ranked) - _SHOWN} more; --json shows all")
    if answer.get("spans"):
        output.table(
            ["label", "text", "from", "to"],
            [[span["label"], text[span["start"] : span["end"]], span["start"], span["end"]] for span in answer["spans"]],
        )
    elif "spans" in answer and "text" not in answer:
        output.say("no spans")
    if "vector" in answer:
        vector = answer["vector"]
        output.say(f"vector of {len(vector)} numbers: {', '.join(f'{value:.3f}' for value in vector[:6])} …; --json shows all")
    if answer.get("truncated"):
        output.note("The text is longer than the model's limit, so only part of it was read.", "yellow")
