"""Tables of what the defaults reach: calibration, few rows, beside the cheap ways, and what the companion of words costs."""

from __future__ import annotations

from collections.abc import Iterator

from written import RESULTS, Figure, bar_figures, figures_table, machines, results, table

_SHOTS = ("auto", "contrastive", "labels", "probe", "setfit")
"""Columns of the table of few rows."""
_CALIBRATION = {"banking77-full": 0.015, "trec6-auto": 0.025, "waimai": 0.02, "phrasebank-auto": 0.03}
"""The largest expected calibration error that was asked for, by row of the accuracy table."""


def shots() -> str:
    """Accuracy and processor time on few rows, beside fine-tuning alone, the probe alone, and SetFit."""
    head = ["data", "rows per class", "draws", *(f"`{side}`" for side in _SHOTS), "processor time of `auto`, `contrastive`, `setfit`"]
    rows = []
    for name, found in results("shots").items():
        mean = found["mean"]
        cells = [f"{100 * mean[side]['accuracy']:.1f}" if side in mean else "–" for side in _SHOTS]
        sides = ("auto", "contrastive", "setfit")
        seconds = ", ".join(f"{mean[side]['processor_seconds']:.0f} s" if side in mean else "–" for side in sides)
        rows.append([f"`{name}`", str(found["rows_per_label"]), str(mean["auto"]["draws"]), *cells, seconds])
    parts = [side for found in results("shots").values() for draw in found["draws"].values() for side in draw.values()]
    return table(head, rows) + "\n" + figures_table(_shots_figures()) + "\n" + machines(*parts) + "\n"


def calibration() -> str:
    """The expected calibration error on the test rows of each row of the accuracy table, with its bar where there is one."""
    head = ["row", "test rows", "expected calibration error", "bar"]
    rows = [
        [f"`{name}`", f"{number:,}", f"{error:.3f}", f"≤ {_CALIBRATION[name]}" if name in _CALIBRATION else "–"]
        for name, number, error in _calibration_errors()
    ]
    return table(head, rows) + "\n"


def _calibration_errors() -> Iterator[tuple[str, int, float]]:
    """Each row whose error was measured, with its number of test rows and the mean error over the seeds of which it is known."""
    for file in sorted((RESULTS / "accuracy").glob("*.json")):
        seeds = list(results(f"accuracy/{file.stem}")["seeds"].values())
        errors = [error for seed in seeds if (error := seed.get("calibration_error")) is not None]
        if errors:
            yield file.stem, seeds[0]["rows"]["test"], sum(errors) / len(errors)


def choosing() -> str:
    """`method: auto` beside counting words and a linear probe."""
    found = results("choosing")
    rows = [
        [f"`{name}`", f"{one['rows']:,}", one["metric"], *(f"{100 * one[side]:.1f}" for side in ("auto", "words", "probe")),
         f"{100 * one['gain']:+.1f}"]
        for name, one in found.get("rows", {}).items()
    ]  # fmt: skip
    head = ["data", "rows", "metric", "`auto`", "words", "probe", "`auto` beyond the better of both"]
    return table(head, rows) + "\n" + figures_table(_choosing_figures()) + "\n" + machines(found) + "\n"


def half() -> str:
    """`method: auto` while other programs take half of the processors, beside the machine to itself."""
    found = results("half")
    rows = [
        [f"`{name}`", one["metric"], f"{100 * one['alone']:.1f}", f"{100 * one['busy']:.1f}", "yes" if one["warned"] else "no"]
        for name, one in found.get("rows", {}).items()
    ]
    head = ["data", "metric", "alone", "busy", "warned"]
    return table(head, rows) + "\n" + figures_table(_half_figures()) + "\n" + machines(found) + "\n"


def companion() -> str:
    """What the companion of words costs."""
    return figures_table(_companion_figures()) + "\n" + machines(results("companion")) + "\n"


def shifts() -> str:
    """Whether a shift of each output makes the log-loss of other validation records smaller."""
    found = results("shifts")
    head = ["data", "validation records", "labels", "log-loss smaller by (standard error)", "used"]
    rows = [
        [f"`{name}`", f"{one['records']:,}", str(one["labels"]), f"{one['gain']:+.4f} ({one['error']:.4f})", "yes" if one["used"] else "no"]
        for name, one in found.get("rows", {}).items()
    ]
    return table(head, rows) + "\n" + machines(found) + "\n"


def defaults_figures() -> Iterator[Figure]:
    """The bars of all of them."""
    for name, _, error in _calibration_errors():
        if name in _CALIBRATION:
            bar = _CALIBRATION[name]
            yield Figure(f"calibration/{name}", f"Calibration error, `{name}`", f"{error:.3f}", f"≤ {bar}", error > bar)
    yield from _shots_figures()
    yield from _choosing_figures()
    yield from _half_figures()
    yield from _companion_figures()


def _shots_figures() -> Iterator[Figure]:
    """What `method: auto` reaches on few rows that has a bar."""
    measured = {name: found["mean"] for name, found in results("shots").items()}
    trec = measured["trec6"]
    auto = trec["auto"]
    yield Figure("shots/trec6", "TREC-6, 16 rows per class", f"{100 * auto['accuracy']:.1f}", "≥ 90.5", auto["accuracy"] < 0.905)
    share = auto["processor_seconds"] / trec["setfit"]["processor_seconds"]
    yield Figure("shots/trec6/cost", "The same, processor time relative to SetFit", f"{share:.2f} ×", "≤ 0.33 ×", share > 1 / 3)
    eight = [mean for name, mean in measured.items() if results("shots")[name]["rows_per_label"] == 8 and "setfit" in mean]
    if eight:
        gain = sum(mean["auto"]["accuracy"] - mean["setfit"]["accuracy"] for mean in eight) / len(eight)
        worst = min(mean["auto"]["accuracy"] - mean["probe"]["accuracy"] for mean in eight)
        what = f"8 rows per class, mean over {len(eight)} data sets, beyond SetFit"
        yield Figure("shots/eight", what, f"{100 * gain:+.1f}", "≥ 0", gain < 0)
        yield Figure("shots/probe", "The same, least difference from the linear probe", f"{100 * worst:+.1f}", "≥ -0.5", worst < -0.005)


def _choosing_figures() -> Iterator[Figure]:
    found = results("choosing")
    for name, one in found.get("bars", {}).items():
        what = f"`method: auto` beyond the better of words and probe on {len(found['rows'])} data sets: {name}"
        yield Figure(f"choosing/{name}", what, f"{100 * one['figure']:+.1f}", f"≥ {100 * one['bar']:+.1f}", not one["met"])


def _half_figures() -> Iterator[Figure]:
    for name, one in results("half").get("rows", {}).items():
        lost = 100 * (one["busy"] - one["alone"])
        yield Figure(f"half/{name}", f"`{name}` with half of the processors", f"{lost:+.1f}", "≥ -1.0, or a warning", not one["met"])


def _companion_figures() -> Iterator[Figure]:
    yield from bar_figures("companion", "The companion of words", results("companion").get("bars", {}))
