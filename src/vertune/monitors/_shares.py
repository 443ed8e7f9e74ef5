"""What monitors share: findings about shares of requests and about means, and how their figures are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.monitor import SIGNIFICANT, Finding, Window
from vertune.core.sentence import said
from vertune.metrics.drift import fisher, kolmogorov_smirnov, share_interval
from vertune.metrics.normal import QUANTILE

MOST_EXAMPLES = 8
"""Number of texts that are shown as examples."""
_LONGEST_EXAMPLE = 200


def per_cent(share: float) -> str:
    """Write a share in per cent, as `3.4 %`."""
    return f"{100 * share:.1f} %"


def write_p(p: float) -> str:
    """Write a probability, as `p = 0.03` or `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def compare_shares(
    reference: NDArray[np.bool_], window: NDArray[np.bool_], least: float, what: str, evidence: list[dict[str, Any]] | None = None
) -> Finding:
    """Return the finding on a share of requests, which has changed if it is higher by `least` or more.

    The arrays say for each request whether it counts, and `what` is the end of a sentence such as `of the requests failed`, which
    `core.sentence.said` can give in several languages.
    """
    hits, counts = (int(window.sum()), int(reference.sum())), (len(window), len(reference))
    if not counts[0] or not counts[1]:
        return Finding.silent(said("shares.none"), counts[0])
    share, before = hits[0] / counts[0], hits[1] / counts[1]
    p, (low, high) = fisher(hits, counts), share_interval(hits[0], counts[0])
    why = said("shares", share=per_cent(share), what=what, before=per_cent(before), p=write_p(p))
    return Finding(share, low, high, p, changed=p < SIGNIFICANT and share - before >= least, why=why, evidence=evidence or [], n=counts[0])


def compare_means(reference: NDArray[np.float64], window: NDArray[np.float64], least: float, what: str, digits: int = 3) -> Finding:
    """Return the finding on the mean of numbers, which has changed if their distributions differ by `least` or more.

    The distributions are compared by the test of Kolmogorov and Smirnov; `what` is the beginning of a sentence that states the means.
    """
    found, mean = kolmogorov_smirnov(reference, window), float(window.mean())
    reach = QUANTILE * float(window.std()) / np.sqrt(len(window))
    why = said("means", what=what, size=f"{found.size:.2f}", p=write_p(found.p))
    changed, evidence = found.p < SIGNIFICANT and found.size >= least, quantiles(reference, window, digits)
    return Finding(mean, mean - reach, mean + reach, found.p, changed=changed, why=why, evidence=evidence, n=len(window))


def kept_rows(window: Window, most: int) -> NDArray[np.int64]:
    """Return the positions of records whose texts are kept, of more than `most` a random sample, the same in every call."""
    rows = np.array([row for row, record in enumerate(window.records) if record is not None], np.int64)
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def examples(window: Window, rows: Sequence[int] | NDArray[np.int64], title: str = "text") -> list[dict[str, Any]]:
    """Return the first texts at these positions, as rows of a table."""
    texts = window.texts()
    shown = [text for text in (texts[row] for row in rows) if text]
    return [{title: text[:_LONGEST_EXAMPLE]} for text in list(dict.fromkeys(shown))[:MOST_EXAMPLES]]


def quantiles(reference: NDArray[np.float64], window: NDArray[np.float64], digits: int = 3) -> list[dict[str, Any]]:
    """Return how numbers are distributed in both, as rows of a table."""
    shown = {"5 % are below": 0.05, "half are below": 0.5, "95 % are below": 0.95, "99 % are below": 0.99}
    return [
        {"": title, "reference": round(float(np.quantile(reference, at)), digits), "window": round(float(np.quantile(window, at)), digits)}
        for title, at in shown.items()
    ]


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values that are known."""
    known: NDArray[np.float64] = values[np.isfinite(values)]
    return known
