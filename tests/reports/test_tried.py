"""The table of what was tried in a training."""

from __future__ import annotations

from vertune.reports.tried import tried


def entry(name: str, value: float, kept: bool = False, **more: object) -> dict[str, object]:
    return {
        "name": name, "metric": "accuracy", "value": value, "low": value - 0.02, "high": value + 0.02, "rows": 1200, "seconds": 3.21,
        "milliseconds": 4.5, "bytes": 2_500_000, "kept": kept, **more,
    }  # fmt: skip


def test_every_candidate_has_a_row_and_the_chosen_one_is_marked() -> None:
    found = tried({"tried": [entry("probe", 0.8), entry("words", 0.75, low=None, high=None), entry("mixed", 0.82, kept=True)]})
    assert found is not None
    assert found.title == "Accuracy"
    assert [row.title for row in found.rows] == ["linear probe", "words alone", "model and words (chosen)"]
    assert found.rows[0].score == "80.0\N{NO-BREAK SPACE}% (78.0\N{NO-BREAK SPACE}% to 82.0\N{NO-BREAK SPACE}%)"
    assert found.rows[1].score == "75.0\N{NO-BREAK SPACE}%"
    assert (found.rows[0].seconds, found.rows[0].milliseconds, found.rows[0].megabytes) == ("3.2", "4.50", "2.5")
    assert "On 1,200 validation rows" in found.about
    assert "folds" not in found.about


def test_candidates_of_a_cross_validation_come_first_and_are_told_apart() -> None:
    compared = [entry("contrastive", 0.91, kept=True)]
    found = tried({"candidates": compared, "tried": [entry("probe", 0.8), entry("full", 0.9, kept=True)]})
    assert found is not None
    assert [row.title for row in found.rows] == ["contrastive, in folds", "linear probe", "trained: full (chosen)"]
    assert "cross-validation" in found.about


def test_a_cross_validation_of_all_rows_is_told_as_such() -> None:
    found = tried({"folds": 5, "tried": [entry("probe", 0.8), entry("contrastive", 0.9), entry("mixed", 0.91, kept=True)]})
    assert found is not None
    assert [row.title for row in found.rows] == ["linear probe", "contrastive training", "model and words (chosen)"]
    assert "On all 1,200 labelled rows, each held out in one of 5 folds" in found.about


def test_a_log_loss_and_fewer_folds_are_told() -> None:
    tables = [
        tried({"folds": 3, "tried": [entry("probe", 0.6, rows=400, folds=1, **loss), entry("contrastive", 0.9, kept=True, folds=3)]})
        for loss in ({"log_loss": 0.71234}, {})
    ]
    assert tables[0] is not None
    assert tables[1] is not None
    assert [row.log_loss for row in tables[0].rows] == ["0.712", ""]
    assert [table.has_log_loss for table in tables if table] == [True, False]
    assert ["log-loss" in table.header for table in tables if table] == [True, False]
    assert [len(cells) for table in tables if table for cells in (table.header, *table.cells)] == [6, 6, 6, 5, 5, 5]
    assert "On all 1,200 labelled rows" in tables[0].about
    assert "fewer folds" in tables[0].about
    assert "Log-loss" in tables[0].about
    assert "Log-loss" not in tables[1].about


def test_a_race_that_ended_early_is_told_as_such() -> None:
    found = tried({"folds": 3, "tried": [entry("probe", 0.6, rows=40, folds=1), entry("contrastive", 0.9, rows=40, folds=1, kept=True)]})
    assert found is not None
    assert "On 40 labelled rows, held out in 1 of 3 folds" in found.about


def test_one_candidate_and_models_of_older_versions_have_no_table() -> None:
    assert tried({"tried": [entry("probe", 0.8)]}) is None
    assert tried({"why": "it was set"}) is None
    assert tried(None) is None
