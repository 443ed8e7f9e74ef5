"""Tables of what active learning saves, how well needed labels are estimated, and what ranking and many annotators take."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from written import Figure, bar_figures, figures_table, machines, results, table

SHOWN = {
    "banking77-full": "Banking77, 77 intents", "trec6-full": "TREC-6, 6 kinds of questions",
    "phrasebank-full": "Financial PhraseBank, 3 sentiments", "smp2019-domain": "SMP2019, 24 domains (Chinese)",
    "ncbi-disease": "NCBI Disease, spans",
}  # fmt: skip


def labelling() -> str:
    """The scores of records that `auto` chose and of random ones, and the labels that each needs."""
    found = results("labelling")
    rows = []
    for name, one in found.items():
        curves = {curve["query"]: curve for curve in one["curves"]}
        means = {query: [statistics.mean(scores) for scores in zip(*curve["scores"], strict=True)] for query, curve in curves.items()}
        needed = {query: _needed(curves[query]["labels"], means[query], 0.95 * one["full"]) for query in curves}
        last = curves["auto"]["labels"][-1]
        rows.append(
            [SHOWN[name], f"{one['rows']:,}", f"{100 * one['full']:.1f}", f"{last:,}"]
            + [f"{100 * means[query][-1]:.1f}; {100 * statistics.mean(means[query]):.1f}" for query in ("auto", "uniform")]
            + [needed[query] or f"> {last:,}" for query in ("auto", "uniform")]
        )
    head = ["data", "records", "score with all labels", "labels", "`auto`: last score; mean", "random", "95 % with `auto`", "at random"]
    return table(head, rows) + "\n" + machines(*found.values()) + "\n"


def labelling_bars() -> str:
    """All bars, with the machines on which they were measured."""
    parts = [*results("labelling").values(), *results("needed").values(), results("ranking"), results("annotators")]
    return figures_table(labelling_figures()) + "\n" + machines(*(part for part in parts if part)) + "\n"


def labelling_figures() -> Iterator[Figure]:
    """The bars."""
    for name, one in results("labelling").items():
        yield from bar_figures(f"labelling/{name}", f"Labels chosen by `auto`, {SHOWN[name]}", one["bars"])
    for name, one in results("needed").items():
        yield from bar_figures(f"needed/{name}", f"Labels still needed, at a third of them, {SHOWN.get(name, name)}", one["bars"])
    for name, part in results("ranking").items():
        if isinstance(part, dict):
            bars = {key: one for key, one in part.items() if isinstance(one, dict) and "bar" in one}
            yield from bar_figures(f"ranking/{name}", f"Ranking the records {name}", bars)
    found = results("annotators")
    if found:
        yield from bar_figures("annotators", f"Ten annotators at once, {found['labels']:,} labels", found["bars"])


def _needed(labels: list[int], means: list[float], score: float) -> str:
    """The number of labels from which on the mean score is at least this one; empty if it is never reached."""
    place = len(means)
    while place and means[place - 1] >= score:
        place -= 1
    return f"{labels[place]:,}" if place < len(means) else ""
