"""`vertune simulate`: shows how many labels each query would have needed on a labelled dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("From a file to a model", 6)


def run(
    config: options.Run,
    query: Annotated[
        list[str] | None, typer.Option("--query", metavar="NAME", help="A query to try; again for others. By default auto and uniform.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Number of simulations of each query.")] = 5,
    batch: Annotated[int, typer.Option("--batch", help="Number of records that are labelled at once.")] = 50,
    labels: Annotated[int, typer.Option("--labels", help="Number of labels at which a simulation ends.")] = 1000,
    set: options.Set = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Compare ways to choose what people label next.

    The labels of the training rows are revealed in batches, as if people gave them in the order that a query chooses. After each batch, a
    linear probe is fitted and measured on the test rows.
    """
    from dataclasses import asdict

    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.config import load
    from vertune.steps.fit import prepared
    from vertune.steps.simulate import TARGET, Plan, check, simulate, summary

    plan = Plan(tuple(query or Plan().queries), seeds, batch, labels)
    check(plan)
    settings = load(config, set or [])
    with show_progress("simulate") as progress:
        dataset = prepared(settings, Home(home), progress)
        found = simulate(dataset, plan, progress)
    if json:
        output.as_json(asdict(found) | {"summary": summary(found)})
        return
    output.facts({"dataset": dataset.id, "records": f"{found.rows:,}", f"{found.metric} with all labels": f"{found.full:.4f}"})
    wanted = f"labels to {TARGET:.0%} of that"
    rows = [
        [one["query"], one["labels"], f"{one['score']:.4f}", f"{one['area']:.4f}", one["needed"] or f"more than {one['labels']}"]
        for one in summary(found)
    ]
    output.table(["query", "labels", found.metric, "mean so far", wanted], rows)
