"""`vertune tune`: how a vertical's graphs run best on this machine; knows nothing of what they answer."""

from __future__ import annotations

from vertune.cli import options, output


def run(model: options.Model, home: options.Home = None) -> None:
    """Find out how a compressed model runs best on this machine."""
    from vertune.cli.progress import watching
    from vertune.core.artifact import Home
    from vertune.steps.tune import KEPT_NOT, tune

    place = Home(home)
    with watching("tune") as progress:
        found = tune(place.get("models", model), place, progress)
    rows = [
        [one.model, one.chain, one.threads, f"{1000 * one.latency:.2f}", round(one.throughput), one.score, one.expected] for one in found
    ]
    output.table(["model", "made by", "threads", "ms a text", "texts/s", "here", "where it was made"], rows)
    best = found[0]
    output.say()
    output.facts({"quickest": best.model if best.model != KEPT_NOT else "float32, which was not kept", "threads": best.threads})
    if best.model == KEPT_NOT:
        output.then(f"vertune compress {model} --set compress.chain=[]")
    else:
        output.then(f'vertune predict {best.model} "a text"')
