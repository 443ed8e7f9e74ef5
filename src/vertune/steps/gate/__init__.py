"""gate: decides whether a candidate may replace the live model, and writes a report with the verdict, the evidence and what changes.

The decision itself is in `vertune.evaluation`: this step loads both models, lets them answer the same rows, measures their size and speed,
and runs the behaviour tests of the vertical.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vertune import __version__
from vertune.core.artifact import Artifact, Home, Progress, Recorder, recording
from vertune.core.behaviour import Suite
from vertune.core.errors import Conflict, DataError
from vertune.core.files import read_json, write_json, write_text
from vertune.core.kinds import Task
from vertune.evaluation import against_live, mistakes, release
from vertune.evaluation.against_live import GOLD, TRAFFIC, Answered, Rules
from vertune.evaluation.gate import ACCEPTED, UNDECIDED
from vertune.evaluation.release import Bounds, Check, Group, Release
from vertune.reports import release as report_page
from vertune.reports.scales import plural
from vertune.runtime.predictor import GRAPH
from vertune.steps import check
from vertune.steps.evaluate import hash_rows
from vertune.steps.gate import cost
from vertune.steps.gate.answers import ORDER, Pair, Read, Rows, Side, differences

FILE = "release.json"
"""The file of a report with the verdict and the evidence."""
PROBE = "probe"
"""Name of the set of texts without right answers: it is only listed which of them the two models answer differently."""
COMPRESSION_FAILED = "compression_failed"
"""The entry of a candidate's manifest that says why it could not be compressed as the live model was, and which model that is."""
_OF_COMPRESSION: dict[str, release.Verdict] = {ACCEPTED: "pass", UNDECIDED: "unknown"}
"""The verdict here for a verdict of the gate of compressions."""
_LISTED = 50
"""Largest number of texts on the page that are answered differently; the CSV file contains all of them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a candidate may replace the live model."""

    bounds: Bounds = field(default_factory=Bounds)
    tests: Path | None = None
    """The file of behaviour tests; None takes those of the vertical in the home, if there are any."""
    speed: bool = True
    """Whether to measure the speed, which takes a few seconds."""


def gate(
    candidate: Artifact,
    live: Artifact,
    home: Home,
    sets: Mapping[str, Rows],
    terms: Terms | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Compare a candidate with the live model, and return the report as an artifact (a folder); `read_release` reads its verdict.

    `sets` has rows by name: `gold` (needed: labelled rows that no model is trained on), `new` (labelled rows of what the candidate was
    trained for, on which it must be better), `probe` (texts without right answers), `traffic` (texts drawn at random from traffic, of which
    only those that are answered differently need a label), and labelled rows under any other name, on which it must not be worse. Rows
    that one of the models was trained on are left out. Raises Conflict if both are the same model, ConfigError if they have different
    tasks, and DataError if there is no gold row.
    """
    terms = terms or Terms()
    if candidate.id == live.id:
        raise Conflict(f"The model {candidate.id} is live already, so there is nothing to compare it with. Choose another candidate.")
    manifest = candidate.manifest
    entries = {"step": "gate", "config": manifest["config"], "parents": [candidate.id, live.id]}
    suite = check.suite_of(str(manifest["name"]), home, terms.tests)
    run = home.begin("reports", manifest["name"], **entries)
    with recording(home, run, progress) as recorder:
        pair = Pair(Side(candidate, home), Side(live, home))
        found = {name: _read(pair, name, rows, recorder) for name, rows in sets.items()}
        gold = _gold(found)
        gold_hash = _hash(pair.task, gold, found.get(TRAFFIC))
        look = _look(home, candidate, live, gold_hash)
        recorder("scoring", units=len(gold.records))
        rules = Rules(terms.bounds, look, tuple(pair.candidate.predictor.config.evaluate.slices))
        judged = against_live.judge(pair.task, [one.answered for name, one in found.items() if name != PROBE and not one.unlabelled], rules)
        recorder("measuring")
        tests, behaviour = _behaviour(pair, suite, recorder)
        checks = [*judged.checks, *behaviour, *_costs(pair, gold, terms), *_compression(candidate, live)]
        verdict = release.released(checks, judged.groups)
        changes = _changes(pair, found)
        content = _content(verdict, found, changes, {"candidate": candidate.id, "live": live.id, "look": look, "name": manifest["name"]})
        _write(run.folder, {**content, "bounds": asdict(terms.bounds), "tests": tests}, changes)
        _write_unlabelled(run.folder, pair, found)
        return home.finish(
            run, verdict=verdict.verdict, headline=verdict.headline, labels_needed=verdict.labels_needed, look=look, gold_hash=gold_hash,
            rows={name: len(one.answered.records) for name, one in found.items()}, versions={"vertune": __version__},
        )  # fmt: skip


def read_release(report: Artifact) -> Release:
    """Return the verdict that a report of the gate contains; raise DataError if it is a report of another step."""
    if not (report.folder / FILE).exists():
        raise DataError(
            f"The report {report.id} contains no verdict on a release; it was made by the step '{report.manifest.get('step')}'. "
            "Make one: vertune gate CANDIDATE"
        )
    content = read_json(report.folder / FILE)
    checks = [Check(**one) for one in content["checks"]]
    return Release(content["verdict"], checks, content["labels_needed"], [Group(**group) for group in content["groups"]])


def _read(pair: Pair, name: str, rows: Rows, recorder: Recorder) -> Read:
    """Let both models answer a set of rows."""
    recorder("answering", rows=len(rows))
    if name != TRAFFIC:
        return pair.read(name, rows, name != PROBE)
    read = pair.read_traffic(rows)
    if read.unlabelled:
        texts = read.answered.alike + len(read.answered.records) + len(read.unlabelled)
        read.notes.append(
            f"Of {plural(texts, 'text')} of traffic, {plural(len(read.unlabelled), 'text')} are answered differently and have no label. "
            "Label those in to_label.csv, and give this file as further traffic: all texts then count in the comparison."
        )
    return read


def _gold(found: Mapping[str, Read]) -> Answered:
    """Return the gold rows; raise DataError if there are none."""
    gold = found.get(GOLD)
    if gold is None or not gold.answered.records:
        reasons = " ".join(gold.notes) if gold else ""
        raise DataError(
            f"There is no gold row to compare the models on; expected labelled rows that neither model was trained on. {reasons} "
            "Give some: vertune gate CANDIDATE --gold FILE"
        )
    return gold.answered


def _hash(task: Task, gold: Answered, traffic: Read | None) -> str:
    """Return a hash of the rows on which the main metric is compared: further traffic, too, is a further chance to err."""
    if traffic is None or traffic.unlabelled:
        return hash_rows(task, gold.records)
    return f"{hash_rows(task, [*gold.records, *traffic.answered.records])} {traffic.answered.alike}"


def _look(home: Home, candidate: Artifact, live: Artifact, gold_hash: str) -> int:
    """Return how often the two models were compared, this time included; a repetition on the same rows does not count."""
    earlier = {
        str(manifest.get("gold_hash"))
        for report in home.shelf("reports")
        if (manifest := report.manifest_or_empty).get("step") == "gate" and list(report.parents) == [candidate.id, live.id]
    }
    return 1 + len(earlier - {gold_hash})


def _behaviour(pair: Pair, suite: Suite | None, recorder: Recorder) -> tuple[list[dict[str, Any]], list[Check]]:
    """Run the behaviour tests, if there are any, on both models; return the results for the page, and the check."""
    if suite is None:
        return [], []
    ours, theirs = (check.run_on(side.predictor, suite, recorder) for side in (pair.candidate, pair.live))
    passed = [(one.name, one.passed, other.passed) for one, other in zip(ours, theirs, strict=True)]
    return check.as_json(ours, theirs), [release.kept(passed)]


def _costs(pair: Pair, gold: Answered, terms: Terms) -> list[Check]:
    """Return the checks of size and speed."""
    sizes = [cost.size(side.model) for side in (pair.candidate, pair.live)]
    checks = [release.within("size", [sizes[0] / max(1, sizes[1])], terms.bounds.size, "on the disk, it is")]
    if terms.speed:
        times = cost.ratios(pair.candidate.predictor, pair.live.predictor, gold.records)
        checks.append(release.within("speed", times, terms.bounds.speed, "for one record, it takes"))
    return checks


def _compression(candidate: Artifact, live: Artifact) -> list[Check]:
    """Return whether the candidate passed the gate of its compression; no check if neither model is compressed.

    What that gate can't tell, this one can't tell either, even if a person accepted the result.
    """
    compressed, needed = ((model.folder / GRAPH).exists() for model in (candidate, live))
    if not compressed and not needed:
        return []
    verdict: release.Verdict
    if compressed:
        last = (candidate.manifest.get("candidates") or [{}])[-1]
        verdict = _OF_COMPRESSION.get(str(last.get("verdict")), "fail")
        why = f"Compared with the model before: {last.get('why') or 'the manifest contains no comparison'}."
    elif failed := candidate.manifest.get(COMPRESSION_FAILED):
        verdict, why = "fail", f"The candidate could not be compressed as {failed['live']} was. {failed['why']}"
    else:
        verdict, why = "unknown", "The live model is compressed, and the candidate is not. Compress it first: vertune compress CANDIDATE."
    return [Check("compression", verdict, None, None, None, limit=None, why=why)]


def _changes(pair: Pair, found: Mapping[str, Read]) -> list[dict[str, Any]]:
    """Return the records of all sets that are answered differently; those that the candidate alone gets wrong come first."""
    every = [one for read in found.values() for one in differences(pair.task, read.answered)]
    return sorted(every, key=lambda one: ORDER.index(one["right"]))


def _content(verdict: Release, found: Mapping[str, Read], changes: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of release.json."""
    sets = {
        name: {
            "rows": len(read.answered.records) + read.answered.alike + len(read.unlabelled),
            "changed": sum(one["set"] == name for one in changes),
        }
        for name, read in found.items()
    }
    return {
        **about,
        "verdict": verdict.verdict,
        "headline": verdict.headline,
        "labels_needed": verdict.labels_needed,
        "checks": [_as_json(check) for check in verdict.checks],
        "groups": [_as_json(group) for group in verdict.groups],
        "sets": sets,
        "notes": [note for read in found.values() for note in read.notes],
        "changes": list(changes[:_LISTED]),
        "changed": len(changes),
        "version": __version__,
    }


def _as_json(found: Check | Group) -> dict[str, Any]:
    """Return a check or a group with None in place of figures that are not finite, such as the ends of the interval of a single row."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in asdict(found).items()
    }  # fmt: skip


def _write(folder: Path, content: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> None:
    """Write the files of a report: the verdict with its evidence, the page, and the table of records that are answered differently."""
    write_json(folder / FILE, dict(content))
    write_text(folder / "report.html", report_page.page(content))
    if changes:
        write_text(folder / "differences.csv", "\ufeff" + mistakes.as_csv(changes, marks=()))  # the mark lets spreadsheets read UTF-8


def _write_unlabelled(folder: Path, pair: Pair, found: Mapping[str, Read]) -> None:
    """Write the records of traffic that need a label, with an empty column for it, under the names that the training data have."""
    unlabelled = [record for read in found.values() for record in read.unlabelled]
    if not unlabelled:
        return
    sources = pair.candidate.predictor.fields
    targets = {column.name: "" for column in pair.task.target_columns}
    names = {name: source for name, source in sources.items() if isinstance(source, str)}
    named = [{names.get(name, name): value for name, value in {**record, **targets}.items()} for record in unlabelled]
    write_text(folder / "to_label.csv", "\ufeff" + mistakes.as_csv(named, marks=()))
