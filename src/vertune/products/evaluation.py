"""Evaluates a product on labelled conversations, writes the report, and decides whether it may go live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vertune import __version__
from vertune.core.app import Labelled
from vertune.core.artifact import Artifact, Home, Progress, recording
from vertune.core.conversation import Conversation
from vertune.core.files import read_json, write_json, write_text
from vertune.metrics.drift import binomial_tail
from vertune.products import baselines, figures
from vertune.products.figures import Figure
from vertune.products.product import Product
from vertune.products.replay import Outcome, replay
from vertune.reports import product as page

FILE = "product.json"
"""The file of a report with the figures and the verdict."""
Verdict = Literal["pass", "fail", "unknown"]
_SHOWN = 200
"""Replies that are not as expected that a report keeps."""
_CHANCE = 0.05
"""Probability from which on a difference to the live product counts as chance."""
_SIDE = 0.025
"""Probability with which a product that keeps the stated share is said to fail."""
_MOST_TIMES = 100


@dataclass(frozen=True, slots=True)
class Check:
    """One condition on which a product goes live."""

    name: str
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found."""

    report: Artifact
    figures: dict[str, Figure]
    baselines: dict[str, dict[str, Figure]]
    checks: list[Check]
    notes: tuple[str, ...] = ()
    """What the app says of what it has learnt."""

    @property
    def verdict(self) -> Verdict:
        """The verdict: `fail` if one check fails, `pass` if all pass."""
        return verdict_of(self.checks)


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Return the verdict on several checks together."""
    if any(one.verdict == "fail" for one in checks):
        return "fail"
    return "pass" if all(one.verdict == "pass" for one in checks) else "unknown"


@dataclass(frozen=True, slots=True)
class Known:
    """Labelled messages for baselines: those of the training, and those on which thresholds are learnt."""

    trained: Sequence[Labelled] = ()
    calibration: Sequence[Labelled] = ()


def evaluate(
    product: Product,
    home: Home,
    conversations: Sequence[Conversation],
    known: Known,
    live: Product | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Replay conversations with a product, compare it with two baselines and the live product, and write a report.

    No model was trained on the conversations, and no threshold learnt. `live` is the product that it may replace.
    """
    run = home.begin("reports", product.name, step="app", parents=[product.artifact.id])
    with recording(home, run, progress) as recorder:
        recorder("replaying", conversations=len(conversations))
        outcomes = replay(conversations, product.reply, recorder)
        before = replay(conversations, live.reply) if live is not None and live.artifact.id != product.artifact.id else None
        ours = figures.figures(outcomes)
        asked = [one for one in outcomes if (one.inside or one.expected.outside) and not one.text.startswith("(")]
        texts = [one.text for one in asked]
        given = {baselines.MAJORITY: baselines.majority(known.trained, texts)}
        if known.trained:
            given = {baselines.NEAREST: baselines.Nearest.fit(product.pack, known.trained, known.calibration).answer(texts), **given}
        simple = {name: figures.baseline_figures(asked, rows) for name, rows in given.items()}
        ahead = {name: figures.difference(asked, rows) for name, rows in given.items()}
        notes = product.app.notes()
        checks = judge(ours, product.pack.config.error, outcomes, before)
        content = {
            "name": product.name, "product": product.artifact.id, "app": product.content.app, "pack": product.content.pack,
            "error": product.pack.config.error, "version": __version__, "conversations": len(conversations), "turns": len(outcomes),
            "figures": _json(ours), "baselines": {name: _json(rows) for name, rows in simple.items()},
            "ahead": {name: {"value": one.value, "low": one.low, "high": one.high} for name, one in ahead.items() if one is not None},
            "languages": {name: _json(rows) for name, rows in figures.by(outcomes, lambda one: one.language).items()},
            "kinds": {name: _json(rows) for name, rows in figures.by(outcomes, lambda one: one.kind).items()},
            "intents": {name: _json(rows) for name, rows in figures.by(outcomes, lambda one: one.expected.intent).items()},
            "live": _json(figures.figures(before)) if before is not None and live is not None else None,
            "notes": notes,
            "checks": [{"name": one.name, "verdict": one.verdict, "why": one.why} for one in checks],
            "verdict": verdict_of(checks), "problems": [_problem(one) for one in outcomes if not one.right or one.false][:_SHOWN],
        }  # fmt: skip
        write_json(run.folder / FILE, content)
        write_text(run.folder / "report.html", page.page(read_json(run.folder / FILE)))
        report = home.finish(run, verdict=content["verdict"], metrics={name: one.value for name, one in ours.items()})
    return Evaluation(report, ours, simple, checks, tuple(notes))


def judge(ours: dict[str, Figure], error: float, outcomes: Sequence[Outcome], before: Sequence[Outcome] | None) -> list[Check]:
    """Return the checks of a product: wrong answers within the stated share, and no fewer right replies than the live product gives."""
    checks = [_false_answers(ours["false_answers"], error)]
    if before is not None:
        checks.append(_not_worse(outcomes, before))
    return checks


def _false_answers(figure: Figure, error: float) -> Check:
    stated = f"{100 * error:g} % is stated"
    if figure.value is None:
        return Check("false answers", "unknown", f"No answer was given, so nothing shows how many would be wrong; {stated}.")
    found = f"{figure.hits} of {figure.of} answers given are wrong ({100 * figure.low:.1f} to {100 * figure.high:.1f} %); {stated}"
    if binomial_tail(figure.hits, figure.of, error) < _SIDE:  # exact, because few answers are given
        return Check("false answers", "fail", f"{found}. Learn the thresholds on messages like these, or add training rows.")
    if figure.high <= error:
        return Check("false answers", "pass", f"{found}.")
    needed = _needed(figure, error)
    more = f" About {needed:,} answers would decide." if needed else ""
    return Check("false answers", "unknown", f"{found}. The interval contains it.{more}")


def _needed(figure: Figure, error: float) -> int | None:
    """Return how many answers would decide, if the share stayed as it is; None if it would take very many."""
    if figure.value is None or figure.value >= error:
        return None
    for times in range(2, _MOST_TIMES):
        if Figure.of_hits(figure.hits * times, figure.of * times).high <= error:
            return figure.of * times
    return None


def _not_worse(outcomes: Sequence[Outcome], before: Sequence[Outcome]) -> Check:
    """Compare the replies with those of the live product, by the turns on which the two differ (McNemar's test in its exact form)."""
    gained = sum(new.right and not old.right for new, old in zip(outcomes, before, strict=True))
    lost = sum(old.right and not new.right for new, old in zip(outcomes, before, strict=True))
    found = f"{gained} replies became right and {lost} wrong, of {len(outcomes)}"
    if lost > gained and binomial_tail(lost, gained + lost, 0.5) < _CHANCE:
        return Check("live product", "fail", f"{found}: more than chance explains. Look at the replies below.")
    return Check("live product", "pass", f"{found}.")


def _json(found: dict[str, Figure]) -> dict[str, Any]:
    return {name: one.as_json() for name, one in found.items()}


def _problem(one: Outcome) -> dict[str, Any]:
    return {
        "text": one.text, "kind": one.kind, "language": one.language, "action": one.reply.action, "reply": one.reply.text[:400],
        "intent": one.reply.intent, "problem": one.problem, "false": one.false,
        "expected": one.expected.model_dump(mode="json", exclude_defaults=True),
    }  # fmt: skip
