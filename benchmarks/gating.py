"""How often the gate of releases is wrong, and whether the number of labels that it asks for decides.

    python benchmarks/gating.py                 (20 minutes on one core; needs VERTUNE_DATA)
    python benchmarks/gating.py --trials 20     a short run, which writes nothing

Models are linear probes of the unchanged base, each fitted on another random part of the training rows of Banking77, with 2,000 to 10,003
of them. Their answers to the 3,080 test rows are real, and nothing is tuned on them: the rules of the gate come from error
probabilities. A trial takes two of these models as live model and candidate, whose accuracy differs by about as much as wanted (0, -2 or
+2 points). So that the truth is known exactly, the answers of the candidate to a few random rows are then made right or wrong until the
difference on the 3,080 rows is exactly that; the number of changed answers is stated. Gold rows are drawn from the 3,080 with replacement,
as if the stream of rows were endless.

Bars, of 200 candidates each, with 2,000 gold rows: of those that are 2 points worse, at most 2 % pass; of those that are 2 points
better, at most 10 % fail. The rest is undecided. For them the gate asks for labels: with as many further rows, the share of the candidates
whose comparison on gold rows is then decided must be at least the stated power of 80 %, less the error of measuring it; with a third of
them, it must be lower. Results go to benchmarks/results/gating.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import accuracy
import numpy as np
import servers
from processor import code, measured_here

from vertune.core.artifact import Home
from vertune.core.columns import only
from vertune.core.files import write_json
from vertune.core.kinds import Encoder, Task
from vertune.data.chain import fields_of
from vertune.data.dataset import read
from vertune.evaluation import release
from vertune.evaluation.against_live import Answered, Comparison, Rules, judge
from vertune.evaluation.release import Bounds
from vertune.learning.pool import StatePool
from vertune.metrics.paired import POWER
from vertune.steps.fit import prepared

OUT = accuracy.HERE / "results" / "gating.json"
MODELS = accuracy.WORK / "gating" / "models.npz"
SIZES = {2000: 6, 3000: 6, 5000: 8, 8000: 14, 10003: 1}
"""How many models are fitted on how many training rows."""
GOLD = 2000
TRUTHS = {"equal": 0.0, "2 points worse": -0.02, "2 points better": 0.02}
NEAR = 0.007
"""How far the real difference of two models may be from the wanted one, before answers are changed."""
FOLLOWED = 200
"""Largest number of undecided candidates of each kind for which more rows are drawn."""
GOLD_CHECK = "gold rows"
VERDICTS = ("pass", "fail", "unknown")


@dataclass
class Models:
    """The answers of real models to the test rows."""

    task: Task
    texts: list[str]
    truth: np.ndarray
    """Index of the right label of each row."""
    first: np.ndarray
    """Index of the answered label, shape (models, rows)."""
    second: np.ndarray
    """Index of the second most probable label."""
    sure: np.ndarray
    """Probability of the answered label."""

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right."""
        return self.first == self.truth


def models() -> Models:
    """Fit the models, or read their answers from an earlier run."""
    say = accuracy.Talk("gating")
    options = argparse.Namespace(limit=None, set=[], split="test")
    dataset = prepared(accuracy.config("banking77-full", accuracy.rows()["banking77-full"], 0, options), Home(accuracy.WORK / "home"), say)
    task, encoder = Task.model_validate(dataset.manifest["task"]), Encoder.model_validate(dataset.manifest["encoder"])
    frames = {split: read(dataset, split) for split in ("train", "validation", "test")}
    labels = list(task.known_labels)
    texts, truth = frames["test"]["text"].to_list(), np.array([labels.index(label) for label in frames["test"]["label"].to_list()])
    if not MODELS.exists():
        import polars as pl

        present, used = fields_of(frames["train"], task)
        rows = pl.concat([frames["train"], frames["validation"]], how="diagonal_relaxed")
        train, test = (StatePool.of(task, encoder, only(frame, present).to_dicts(), used) for frame in (rows, frames["test"]))
        found = []
        for size, count in SIZES.items():
            for seed in range(count):
                chosen = np.sort(np.random.default_rng((size, seed)).permutation(len(train.records))[:size])
                answers = test.answers(train.solve(chosen, [train.records[row] for row in chosen.tolist()]))
                chances = np.array([[answer["probabilities"].get(label, 0.0) for label in labels] for answer in answers], np.float32)
                order = np.argsort(-chances, axis=1)[:, :2]
                found.append((order[:, 0], order[:, 1], np.take_along_axis(chances, order[:, :1], 1)[:, 0]))
                say("fitted", step=len(found), steps=sum(SIZES.values()), accuracy=float((order[:, 0] == truth).mean()))
        MODELS.parent.mkdir(parents=True, exist_ok=True)
        np.savez(MODELS, first=[one[0] for one in found], second=[one[1] for one in found], sure=[one[2] for one in found])
    stored = np.load(MODELS)
    return Models(task, texts, truth, stored["first"], stored["second"], stored["sure"])


@dataclass
class Trial:
    """A live model and a candidate, with a difference that is known exactly."""

    live: int
    candidate: int
    first: np.ndarray
    """The candidate's answers, some of which were changed."""
    changed: int


def trials(known: Models, wanted: float, count: int) -> list[Trial]:
    """Pairs of models that differ by about as much as wanted, changed so that they do exactly."""
    means = known.right.mean(axis=1)
    pairs = [(a, b) for a in range(len(means)) for b in range(len(means)) if a != b and abs(means[b] - means[a] - wanted) <= NEAR]
    random = np.random.default_rng(round(10_000 + 1000 * wanted))
    made = []
    for place in random.integers(0, len(pairs), count):
        live, candidate = pairs[place]
        first, right = known.first[candidate].copy(), known.right[candidate]
        missing = round(wanted * len(right)) - int(right.sum() - known.right[live].sum())
        rows = random.choice(np.flatnonzero(~right if missing > 0 else right), abs(missing), replace=False)
        first[rows] = known.truth[rows] if missing > 0 else known.second[candidate][rows]
        made.append(Trial(live, candidate, first, abs(missing)))
    return made


def drawn(known: Models, trial: Trial, rows: np.ndarray) -> Answered:
    """Gold rows with the answers of both; a row that is drawn again is another text, as in an endless stream."""
    labels = known.task.known_labels
    records = [{"text": f"{known.texts[row]} {number}", "label": labels[known.truth[row]]} for number, row in enumerate(rows.tolist())]

    def answers(first: np.ndarray, sure: np.ndarray) -> list[dict[str, Any]]:
        return [{"label": labels[label], "probability": float(p)} for label, p in zip(first[rows].tolist(), sure[rows], strict=True)]

    return Answered(
        "gold", records, answers(trial.first, known.sure[trial.candidate]), answers(known.first[trial.live], known.sure[trial.live])
    )


def first_look(known: Models, kind: str, trial: Trial, number: int, rules: Rules) -> dict[str, Any]:
    """What the gate says of one candidate on the first gold rows."""
    rows = np.random.default_rng((number, len(kind))).integers(0, len(known.truth), GOLD)
    judged = judge(known.task, [drawn(known, trial, rows)], rules)
    found = release.released(judged.checks, judged.groups)
    gold = next(check for check in found.checks if check.name == GOLD_CHECK)
    differ = known.right[trial.live][rows] != (trial.first == known.truth)[rows]
    return {
        "verdict": found.verdict, "checks": {check.name: check.verdict for check in found.checks}, "labels": found.labels_needed,
        "gold": gold.verdict, "gold_labels": gold.labels_needed, "gold_value": gold.value, "differ": float(differ.mean()),
    }  # fmt: skip


def second_look(known: Models, kind: str, trial: Trial, number: int, rules: Rules, further: int) -> str:
    """The verdict on gold rows after so many further rows; the first rows are the same as before."""
    random = np.random.default_rng((number, len(kind)))
    rows = np.concatenate([random.integers(0, len(known.truth), GOLD), random.integers(0, len(known.truth), further)])
    again = replace(rules, look=2)
    comparison = Comparison(known.task, drawn(known, trial, rows), again)
    return release.not_worse(GOLD_CHECK, comparison.goal(), rules.bounds.tolerance, again.spending).verdict


def measured(known: Models, kind: str, count: int, rules: Rules) -> dict[str, Any]:
    """What the gate says of all candidates of one kind."""
    chosen = trials(known, TRUTHS[kind], count)
    looks = [first_look(known, kind, trial, number, rules) for number, trial in enumerate(chosen)]
    shares = Counter(look["verdict"] for look in looks)
    failed, undecided = (
        Counter(name for look in looks for name, verdict in look["checks"].items() if verdict == wanted) for wanted in ("fail", "unknown")
    )
    asked = [(number, look["gold_labels"]) for number, look in enumerate(looks) if look["gold"] == "unknown" and look["gold_labels"]]
    followed = asked[:FOLLOWED]
    after = {
        name: Counter(second_look(known, kind, chosen[number], number, rules, max(1, int(part * labels))) for number, labels in followed)
        for name, part in (("all", 1.0), ("a third", 1 / 3))
    }
    return {
        "candidates": count,
        "verdicts": {verdict: shares[verdict] / count for verdict in VERDICTS},
        "gold": {verdict: sum(look["gold"] == verdict for look in looks) / count for verdict in VERDICTS},
        "failed": dict(failed),
        "undecided": dict(undecided),
        "answered_differently_right_or_wrong": float(np.mean([look["differ"] for look in looks])),
        "standard_error": float(np.sqrt(np.mean([look["differ"] for look in looks]) / GOLD)),
        "changed_answers": float(np.mean([trial.changed for trial in chosen])),
        "labels_asked": [int(np.percentile([labels for _, labels in asked], q)) for q in (25, 50, 75)] if asked else None,
        "not_stated": sum(look["gold"] == "unknown" and not look["gold_labels"] for look in looks),
        "followed": len(followed),
        "after": {name: {verdict: counts[verdict] / max(1, len(followed)) for verdict in VERDICTS} for name, counts in after.items()},
    }  # fmt: skip


def judged_by_bars(found: dict[str, Any]) -> dict[str, Any]:
    """The bars with what was measured."""
    worse, better = found["2 points worse"], found["2 points better"]
    decided = {kind: 1 - one["after"]["all"]["unknown"] for kind, one in found.items() if one["followed"] >= 20}
    fewer = {kind: 1 - one["after"]["a third"]["unknown"] for kind, one in found.items() if one["followed"] >= 20}
    least = {kind: POWER - 1.645 * float(np.sqrt(POWER * (1 - POWER) / found[kind]["followed"])) for kind in decided}
    worst = min(decided, key=lambda kind: decided[kind] - least[kind], default="equal")
    return {
        "false pass of candidates that are 2 points worse": servers.bar([worse["verdicts"]["pass"]], 0.02),
        "false fail of candidates that are 2 points better": servers.bar([better["verdicts"]["fail"]], 0.1),
        "undecided candidates that the labels asked for decide": {
            **servers.bar([decided.get(worst, 0.0)], least.get(worst, POWER), least=True),
            "of each kind": decided, "with a third of the labels": fewer,
        },
    }  # fmt: skip


def show(kind: str, one: dict[str, Any]) -> None:
    """What was measured, as a person reads it."""
    verdicts = ", ".join(f"{name} {share:.1%}" for name, share in one["verdicts"].items())
    print(f"{kind}: {verdicts}; failed checks: {one['failed']}, undecided: {one['undecided']}", flush=True)
    print(f"  right or wrong differs on {one['answered_differently_right_or_wrong']:.1%} of the rows, {one['changed_answers']:.0f} of "
          "3,080 answers changed", flush=True)  # fmt: skip
    if one["labels_asked"]:
        after = {name: f"{1 - shares['unknown']:.0%}" for name, shares in one["after"].items()}
        print(f"  asks for {one['labels_asked'][1]:,} labels (quartiles {one['labels_asked'][0]:,} and {one['labels_asked'][2]:,}); "
              f"of {one['followed']}, decided with all of them: {after['all']}, with a third: {after['a third']}", flush=True)  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200, help="number of candidates of each kind")
    options = parser.parse_args()
    started, known = time.perf_counter(), models()
    rules, found = Rules(Bounds()), {}
    for kind in TRUTHS:
        found[kind] = measured(known, kind, options.trials, rules)
        show(kind, found[kind])
    accuracies = known.right.mean(axis=1)
    bounds = {"tolerance": rules.bounds.tolerance, "slice_loss": rules.bounds.slice_loss}
    about = {"models": len(accuracies), "accuracy": [float(accuracies.min()), float(accuracies.max())], "gold": GOLD, "bounds": bounds}
    bars = judged_by_bars(found)
    for name, bar in bars.items():
        print(f"{'met' if bar['met'] else 'MISSED'}: {name}: {bar['figure']}", flush=True)
    if options.trials >= 200:
        write_json(OUT, about | {"kinds": found, "bars": bars, "seconds": time.perf_counter() - started} | measured_here() | code())
    sys.exit(not all(bar["met"] for bar in bars.values()))


if __name__ == "__main__":
    main()
