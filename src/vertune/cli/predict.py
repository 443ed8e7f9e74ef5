"""`vertune predict`: runs a model on texts, on the rows of a file, or on the lines of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact

PANEL = ("Use a model", 1)

_SHOWN = 5
"""Maximum number of probabilities that are printed for a text; --json prints all."""


def run(
    model: options.Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="The text; two texts for a task on pairs; '-' to read lines from standard input."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A file with rows to predict; needs --out.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write rows and predictions to: .csv, .jsonl or .parquet.")
    ] = None,
    require_signed: options.RequireSigned = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="COLUMN", help="The column of --file with the text; for a pair, write it twice, in order."),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Run a model on a text, a file or standard input."""
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError
    from vertune.core.integrity import MANIFEST

    artifact = Home(home).get("models", model)
    if require_signed is not None:
        from vertune.core.signing import PublicKey

        PublicKey.load(require_signed).require(artifact.folder / MANIFEST)
    if file is not None:
        if texts:
            raise ConfigError(
                f"Both a text and --file were given. Give one of them: vertune predict {model} --file {file} --out answers.csv"
            )
        if out is None:
            raise ConfigError(
                f"--file needs --out, the file to write the answers to: vertune predict {model} --file {file} --out answers.csv"
            )
        _answer_file(artifact, file, out, text or [])
    elif text:
        raise ConfigError(
            f"--text needs --file: it names a column of the file. Write a text without --text: vertune predict {model} 'a text'"
        )
    elif out is not None:
        raise ConfigError(f"--out needs --file, the file to read rows from: vertune predict {model} --file rows.csv --out {out}")
    elif texts and texts != ["-"]:
        _answer_texts(artifact, texts, json)
    elif texts or not sys.stdin.isatty():
        _answer_lines(artifact, sys.stdin)
    else:
        raise ConfigError(
            f'No text and no file was given. Give a text: vertune predict {model} "a text"; '
            f"or a file: vertune predict {model} --file rows.csv --out answers.csv"
        )


def _answer_texts(artifact: Artifact, texts: list[str], json: bool) -> None:
    """Run a model on one record, and print the prediction.

    `texts` are the values of the record's fields: one text, or two for a task on pairs.
    """
    from vertune.data.validate import record_of_texts
    from vertune.steps.predict import Inputs, predict

    record = record_of_texts(Inputs.of(artifact), texts)  # checked before the model is loaded
    answer = predict(artifact, [record])[0]
    if json:
        output.as_json(answer)
    else:
        show(answer, texts[-1])


def _answer_lines(artifact: Artifact, lines: Iterable[str]) -> None:
    """Run a model on each line of standard input, and print one prediction per line, as JSON.

    A line that starts with `{` is read as a record in JSON; any other line is a text. Empty lines are skipped.
    """
    import json

    from vertune.core.documents import parse_json
    from vertune.core.errors import DataError
    from vertune.data.validate import record_of_texts
    from vertune.steps.predict import opened, predict

    predictor = opened(artifact)
    records: list[dict[str, Any]] = []
    for number, line in enumerate(_utf8(lines), 1):
        text = line.strip()
        if text.startswith("{"):
            try:
                records.append(dict(parse_json(text)))
            except ValueError as error:
                raise DataError(
                    f"Line {number} of standard input starts with '{{' but is not a JSON object: {error}. Correct the line."
                ) from error
        elif text:
            records.append(dict(record_of_texts(predictor, [text])))
    for answer in predict(predictor, records) if records else []:
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")


def _utf8(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of standard input unchanged; raise DataError at the first line that is not UTF-8."""
    from vertune.core.errors import DataError

    number = 0
    try:
        for line in lines:
            line.encode()  # depending on the locale, bad bytes fail here or while reading (PEP 538, PEP 540)
            number += 1
            yield line
    except UnicodeError as error:
        raise DataError(
            f"Line {number + 1} of standard input is not UTF-8. Convert the text to UTF-8, or pass it as a file, "
            "whose encoding is detected: --file texts.csv --out answers.csv"
        ) from error


def _answer_file(artifact: Artifact, file: Path, out: Path, texts: list[str]) -> None:
    """Run a model on the rows of a file, write the predictions to `out`, and print how many rows have a prediction.

    `texts` are the columns with the inputs, if they have other names than in the training data.
    """
    from vertune.cli.progress import show_progress
    from vertune.steps.predict import predict_file

    with show_progress(f"predict {file.name}") as progress:
        result = predict_file(artifact, file, out, progress, texts)
    output.facts({"rows": len(result.answers), "answered": len(result.answers) - len(result.errors), "file": output.relative(out)})
    if result.replaced:
        output.note(f"The file had the columns {', '.join(result.replaced)}, which the new predictions replace.", "yellow")
    if result.errors:
        from vertune.reports.scales import plural

        row, reason = next(iter(result.errors.items()))
        output.note(
            f"{plural(len(result.errors), 'row')} could not be answered; see the column answer_error. The first, row {row + 1}: {reason}.",
            "yellow",
        )


def show(answer: dict[str, Any], text: str = "") -> None:
    """Print a prediction of any task: first single values, then probabilities, spans and vectors.

    `text` is the text for which the prediction was made; the spans are shown as parts of it.
    """
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
        output.note("The text exceeds the maximum length of the model, so only a part of it was used.", "yellow")


def _has_entries(value: Any, kind: type) -> bool:
    """Return whether a value is a non-empty list whose entries all have the type `kind`."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _show_likely(probabilities: Mapping[str, float]) -> None:
    """Print the most probable labels, at most five; print nothing if there are fewer than two labels."""
    if len(probabilities) < 2:
        return
    output.say()
    likely = sorted(probabilities.items(), key=lambda item: -item[1])
    output.table(["likely", "probability"], likely[:_SHOWN])
    if len(likely) > _SHOWN:
        output.note(f"and {len(likely) - _SHOWN} more; --json shows all")
