"""`vertune tune`: measures the speed of a model's compressed versions on this machine.

It finds the fastest version, and the best number of threads.
"""

from __future__ import annotations

from vertune.cli import options, output

PANEL = ("Use a model", 3)


def run(model: options.Model, home: options.Home = None) -> None:
    """Find the fastest model and thread count on this machine.

    All compressed models that have the same name as MODEL are measured.
    """
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.steps.tune import TEMPORARY, tune

    store = Home(home)
    with show_progress("tune") as progress:
        results = tune(store.get("models", model), store, progress)
    rows = [
        [
            result.model,
            result.chain,
            result.threads,
            f"{1000 * result.latency:.2f}",
            round(result.throughput),
            result.score,
            result.expected,
        ]
        for result in results
    ]
    output.table(["model", "compressors", "threads", "ms per text", "texts/s", "score here", "score when made"], rows)
    best = results[0]
    output.say()
    output.facts({"fastest": best.model if best.model != TEMPORARY else "float32 (measured only, not saved)", "threads": best.threads})
    if best.model == TEMPORARY:
        output.next_steps(f"vertune compress {best.parent} --set 'compress.chain=[]'")
    else:
        output.next_steps(f'vertune predict {best.model} "a text"')
