"""Tables of what the program bears: damage, hostile requests, random tables, few rows, little memory, and of how sure its figures are."""

from __future__ import annotations

from collections.abc import Iterator

from written import NOT_MEASURED, Figure, machines, results, table


def damage() -> str:
    """What damaged files cost, by the way they are damaged."""
    measured = results("damage")
    rows = [
        [
            way, f"{one['cells']:,}", f"{one['told']}; {one['told_at_start']}", f"{one['spread']}; {one['spread_at_start'] + one['down']}",
            f"{one['wrong']}; {one['wrong_at_start']}", f"{one['unhealed']}",
        ]
        for way, one in measured.get("ways", {}).items()
    ]  # fmt: skip
    head = ["damage", "files", "reported: serving; at start", "others hit", "wrong answers", "not served again after repair"]
    slowest = ""
    if rows:
        total = measured["all"]
        slowest = (
            f"\n{total['cells']:,} of {measured['of']:,} cells, a random sample if these differ. Slowest change of the model of another "
            f"vertical: {measured['slowest_swap']:.2f} s; {total['slow']} took more than 2 s.\n"
        )
    return table(head, rows) + slowest + "\n" + machines(measured) + "\n"


def damage_figures() -> Iterator[Figure]:
    """The bars of damaged files."""
    if found := results("damage").get("all"):
        hit = found["spread"] + found["spread_at_start"] + found["down"]
        yield Figure("damage/others", f"{found['cells']} damaged files: verticals hit that do not need the file", f"{hit}", "0", hit > 0)
        wrong = found["wrong"] + found["wrong_at_start"]
        yield Figure("damage/wrong", f"{found['cells']} damaged files: wrong answers", f"{wrong}", "0", wrong > 0)


def memory() -> str:
    """Peak memory of `fit` on every task."""
    measured = results("memory").get("tasks", {})
    if not measured:
        return NOT_MEASURED
    head = ["task", "rows", "peak memory", "announced before", "method", "bar"]
    rows = [
        [f"`{task}`", f"{int(count):,}", f"**{run['peak_bytes'] / 1e9:.2f} GB**", f"{run['announced_bytes'] / 1e9:.2f} GB",
         f"`{run['method'] or 'head'}`", "≤ 4 GB"]
        for task, runs in measured.items()
        for count, run in runs.items()
    ]  # fmt: skip
    return table(head, rows) + "\n" + machines(*(run for runs in measured.values() for run in runs.values())) + "\n"


def coverage() -> str:
    """How often intervals contain the truth."""
    measured = results("coverage").get("sets", {})
    if not measured:
        return NOT_MEASURED
    rows = [
        [f"`{name}`", one["task"], count, str(one["draws"]), ", ".join(f"{key} {100 * one['coverage']:.1f}" for key, one in found.items())]
        for name, one in measured.items()
        for count, found in one["rows"].items()
    ]
    return table(["data", "task", "rows", "test sets", "coverage, %"], rows) + "\n" + machines(*measured.values()) + "\n"


def guesses() -> str:
    """How many files of each task `init` guesses right, without a flag."""
    found = results("init")
    if not found:
        return NOT_MEASURED
    tasks = dict.fromkeys(entry["expected"] for entry in found["files"].values())
    rows = []
    for task in tasks:
        entries = {name: entry for name, entry in found["files"].items() if entry["expected"] == task}
        wrong = [f"`{name}`" for name, entry in entries.items() if not entry["right"]]
        rows.append([f"`{task}`", str(len(entries)), str(len(entries) - len(wrong)), ", ".join(wrong)])
    rows.append(["all", str(found["of"]), f"{found['right']} (bar: ≥ 55; first run: {found['first']})", ""])
    return table(["task", "files", "right", "wrong"], rows) + "\n" + machines(found) + "\n"


def proof() -> str:
    """Whether int8 is accepted for models of few rows, and what it loses on other rows."""
    measured = results("proof")
    rows = []
    for name, one in measured.items():
        found = one["cross_validation"] or {}
        said = f"{100 * found['loss']:.2f}, at most {100 * found['high']:.2f}" if found and one["share"] else "–"
        if found and not one["share"]:
            said = f"{found['loss']:.4f}, at most {found['high']:.4f}"
        lost = (one["test_before"] - one["test_after"]) * (-1 if one["lower_is_better"] else 1)
        true = f"{100 * lost:.2f} points" if one["share"] else f"{lost:.4f}"
        rows.append([
            f"`{name}`", one["goal"], one["verdict"], said, true, f"{one['test_rows']:,}", f"{one['train_seconds']:.0f} s",
            f"{one['compress_seconds']:.0f} s",
        ])  # fmt: skip
    head = ["data and rows", "metric", "verdict", "loss by cross-validation", "loss on other rows", "other rows", "training", "compression"]
    return table(head, rows) + "\n" + machines(*measured.values()) + "\n"


def tables() -> str:
    """What became of random tables."""
    measured = results("random_tables")
    rows = [
        [kind, f"{one['count']:,}", f"{one['results'].get('used', 0):,}", f"{one['results'].get('refused', 0):,}",
         f"{one['results'].get('failed', 0):,}"]
        for kind, one in measured.items()
    ]  # fmt: skip
    return (
        table(["way", "tables", "used, every row accounted for", "refused with a reason", "crashes or lost rows"], rows)
        + "\n"
        + (machines(*measured.values()) + "\n")
    )


def masks() -> str:
    """How much personal data masks find, what else they mask, and how quickly."""
    found = results("masking")
    if not found:
        return NOT_MEASURED
    rows = [
        [f"`{kind}`", f"{one['texts']:,}", f"{100 * one['recall']:.1f} %", f"{100 * one['precision']:.1f} %"]
        for kind, one in found["kinds"].items()
    ]
    speed = (
        f"{found['texts_per_second']:,} of these texts a second on one core (bar: ≥ 20,000); "
        f"{found['texts_per_second_with_nothing_to_mask']:,} where there is nothing to mask."
    )
    return table(["mask", "texts", "recall", "precision"], rows) + f"\n{speed}\n\n" + machines(found) + "\n"


def bases() -> str:
    """What the bases that packages carry cost in a server."""
    found = results("bases")
    if not found:
        return NOT_MEASURED
    rows = [
        [
            f"`{name}`",
            f"{one['milliseconds']:.1f} ms",
            f"{one['ratio']:.2f} ×",
            f"{one['graphs'] / 1e6:.0f} MB",
            f"{one['memory'] / 1e6:.0f} MB",
        ]
        for name, one in found["bases"].items()
    ]
    return (
        table(["base", "one short text", "relative to `minilm`", "backbone in 8 bits", "memory of the process"], rows)
        + "\n"
        + machines(found)
        + "\n"
    )


def hostile() -> str:
    """What three customers notice of a fourth that sends hostile requests."""
    found = results("customers")
    if not found:
        return NOT_MEASURED
    calm, attacked = ([one for one in found["rounds"] if one["hostile"] is hostile] for hostile in (False, True))
    rows = [
        [what, str(len(rounds)), f"{rounds[0]['requests']:,}", f"{sum(one['attacks'] for one in rounds):,}",
         f"{1000 * sorted(one['p50'] for one in rounds)[len(rounds) // 2]:.1f} ms",
         f"{1000 * sorted(one['p99'] for one in rounds)[len(rounds) // 2]:.1f} ms",
         str(sum(one["hung"] for one in rounds)), str(sum(one["wrong"] + one["crashed"] for one in rounds))]
        for what, rounds in (("ordinary requests", calm), ("5 % hostile requests", attacked))
    ]  # fmt: skip
    head = ["traffic", "rounds", "requests of a round", "hostile", "p50 of the others", "p99 of the others", "hung", "wrong or crashed"]
    ratio, grown = found["p99_ratio"], found["grown"]
    spread = f"bar: 2; {ratio['least']:.2f} to {ratio['most']:.2f}"
    said = (
        f"\np99 with hostile requests is {ratio['median']:.2f} × that without ({spread}). From the first round to the last, memory grew by "
        f"{100 * (grown['memory'] - 1):.1f} % and open files by {100 * (grown['files'] - 1):.1f} % (bar: 5 %).\n"
    )
    return table(head, rows) + said + "\n" + machines(found) + "\n"
