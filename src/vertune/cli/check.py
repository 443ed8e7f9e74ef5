"""`vertune check`: runs behaviour tests on a model, and proposes tests from feedback; a test that fails makes the command fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact
    from vertune.evaluation.behaviour import TestResult

PANEL = ("Use a model", 5)
_LISTED = 3
"""Number of cases that are printed of a test that fails."""


def run(
    model: options.Model,
    tests: Annotated[Path | None, typer.Argument(metavar="TESTS.yaml", help="Their file; without it, the saved ones.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Keep them for later evaluations and for the gate.")] = False,
    propose: Annotated[Path | None, typer.Option("--propose", metavar="FILE", help="Write tests that feedback suggests.")] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Run behaviour tests on a model, and fail if one fails.

    A test says what the models of a vertical must always answer; the exit code is 7 if one fails. With --propose, texts
    with feedback that the model answers rightly are written into FILE as tests, for a person to choose from.
    """
    from dataclasses import asdict

    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.errors import ModelError
    from vertune.steps import check

    store = Home(home)
    artifact = store.get("models", model)
    if propose is not None:
        _propose(artifact, home, propose)
        return
    with show_progress("check", quiet=json) as progress:
        results = check.check(artifact, store, tests, progress)
    if json:
        output.as_json([asdict(one) for one in results])
    else:
        show(results)
    if save and tests is not None:
        output.note(f"Saved as {output.relative(check.save(str(artifact.manifest['name']), store, tests))}.")
    failed = [one.name for one in results if not one.passed]
    if failed:
        raise ModelError(
            f"{len(failed)} of {len(results)} behaviour tests fail with {artifact.id}, the first is '{failed[0]}'; expected all to pass. "
            "Look at the answers above; correct the tests, or train again with rows like these."
        )


def show(results: list[TestResult]) -> None:
    """Print one line per test, and below it some cases that did not hold."""
    width = max(len(one.name) for one in results)
    for one in results:
        style = "green" if one.passed else "bold red"
        output.say(f"{'passed' if one.passed else 'FAILED'}  {one.name:<{width}}  {one.held} of {one.cases}", style)
        for failure in one.failures[:_LISTED]:
            output.say(f"          {failure}")
        if len(one.failures) > _LISTED:
            output.say(f"          and {one.cases - one.held - _LISTED} more")


def _propose(artifact: Artifact, home: Path | None, file: Path) -> None:
    """Write the tests that feedback suggests into a file."""
    from vertune.core import behaviour
    from vertune.core.files import write_private
    from vertune.steps import check

    with options.opened(home, None) as (store, database):
        proposed = check.propose(artifact, store, database)
    write_private(file, behaviour.dump(proposed.tests))
    cases = sum(len(test.cases) for test in proposed.tests)
    output.say(f"{cases} cases in {len(proposed.tests)} tests were written to {output.relative(file)}.")
    if proposed.not_kept or proposed.unreadable:
        output.note(
            f"Left out: {proposed.not_kept} right answers to texts that were not kept, {proposed.unreadable} that the model can't read.",
            "yellow",
        )
    output.next_steps(f"vertune check {artifact.manifest['name']} {output.relative(file)} --save")
