"""The page of a compression: every candidate in the table and the picture, and the verdict in words."""

from __future__ import annotations

import pytest

from vertune.reports import compression


def candidate(name, time, loss, verdict="accepted", best=True):
    return {
        "name": name, "metrics": {"accuracy": 0.9 - loss}, "loss": loss, "low": loss - 0.001, "high": loss + 0.002, "ece": 0.001,
        "verdict": verdict, "why": f"it loses {100 * loss:.2f} points", "bytes": 23_000_000, "best": best,
        "measured": {"latency": {"16": time, "128": 4 * time}, "throughput": 900.0, "memory": 147_000_000, "threads": 2},
    }  # fmt: skip


def manifest(verdict="accepted", share=True, known=False):
    found = [candidate("float32", 0.004, 0.0), candidate("<b>odd</b>", 0.005, 0.002, best=False), candidate("int8", 0.001, 0.001, verdict)]
    gate = {"tolerance": 0.005, "ece": 0.02, "share": share, "goal": "accuracy", "lower_is_better": False, "rows": 1000, "known": known}
    return {"name": "cards", "id": "cards-1", "candidates": found, "gate": gate}


@pytest.mark.parametrize("verdict", ["accepted", "refused", "undecided"])
@pytest.mark.parametrize("share", [True, False])
def test_the_page_says_what_was_found(verdict, share):
    page = compression.page(manifest(verdict, share))
    assert f">{verdict}<" in page
    assert "4.0 ×" in page
    assert page.count("int8") >= 2
    assert "<b>odd</b>" not in page
    assert "&lt;b&gt;odd" in page
    assert page.count('class="strong"') == 2
    assert ("0.50 points" in page) is share


def test_rows_that_the_model_learnt_from_are_told():
    assert "finally retrained on all labelled rows" not in compression.page(manifest())
    assert "finally retrained on all labelled rows" in compression.page(manifest(known=True))


def test_a_base_of_short_texts_shows_the_lengths_that_it_has():
    found = manifest()
    for one in found["candidates"]:
        one["measured"]["latency"] = {"20": 0.001}
    assert "20 tokens" in compression.page(found)
