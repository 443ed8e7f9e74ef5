"""Turns finished calls into rows of the database, with texts masked or left out; does not depend on how rows are written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from vertune.answering.call import Call
from vertune.core.config import KeepText
from vertune.core.records import Answer
from vertune.masking import standard_masker
from vertune.runtime.fleet import Deployment
from vertune.server.settings import TrafficSettings
from vertune.store.database import Database, format_time
from vertune.store.retention import Retention
from vertune.store.traffic import Entry, Used, fingerprint, fingerprint_key
from vertune.store.writer import Writer

_VECTOR = "vector"
"""The key of an answer that is not stored, because it takes more space than all else and can be computed again from the text."""


class Recorder:
    """A listener of finished calls that stores them, in groups and in a thread of its own, and counts what customers use."""

    def __init__(self, database: Database, settings: TrafficSettings) -> None:
        self._database, self._keep_text = database, settings.keep_text
        self._retention = Retention(database, settings.days, settings.megabytes)
        self._key = fingerprint_key(database)
        self._masker = standard_masker()
        self.writer: Writer[tuple[Call, float]] = Writer(database, self._entry, self._retention.step)

    def __call__(self, call: Call) -> None:
        """Take a finished call. Calls that reached no model are not stored, because clients can cause them at will."""
        if call.verticals:
            self.writer.add((call, time.time()))

    def start(self) -> None:
        """Start to store finished calls."""
        self._database.hold()
        self.writer.start()

    def stop(self) -> None:
        """Store the calls that are finished, and stop."""
        self.writer.stop()

    def keeps(self, deployment: Deployment) -> KeepText:
        """Return how texts of a vertical are kept."""
        chosen: KeepText = self._keep_text or deployment.predictor.written.get("serve", {}).get("keep_text", "masked")
        return chosen

    def _entry(self, item: tuple[Call, float]) -> Entry:
        call, seconds = item
        at = datetime.fromtimestamp(seconds, UTC)
        request = {
            "id": call.id, "at": format_time(at), "customer": call.customer, "key": call.key, "resource": call.resource,
            "status": call.status, "seconds": call.total, "records": len(call.records), "tokens": call.tokens,
            "cached_tokens": call.cached_tokens,
        }  # fmt: skip
        if call.status != 200:
            return Entry(request)
        return Entry(request, self._answers(call), _usage(call, f"{at:%Y-%m-%d}"))

    def _answers(self, call: Call) -> list[dict[str, Any]]:
        rows = []
        fingerprints = [fingerprint(record, self._key) for record in call.records]
        for place, (deployment, answers) in enumerate(zip(call.verticals, call.answers, strict=True)):
            keep = self.keeps(deployment)
            for number, (record, answer) in enumerate(zip(call.records, answers, strict=True)):
                assert answer is not None
                kept, shown = self.kept(deployment, record, answer, keep)
                row = {
                    "request": call.id, "number": place * len(call.records) + number, "vertical": deployment.name,
                    "model": deployment.model.id, "record": kept, "fingerprint": fingerprints[number], "answer": shown,
                    "confidence": deployment.task.confidence(answer),
                }  # fmt: skip
                rows.append(row)
        return rows

    def kept(self, deployment: Deployment, record: Mapping[str, Any], answer: Answer, keep: KeepText) -> tuple[str | None, str]:
        """Return the record and the answer as they are stored, in JSON; the record is None if texts are not kept."""
        brief = {name: value for name, value in deployment.task.brief(answer).items() if name != _VECTOR}
        if keep == "yes":
            return _json(record), _json(brief)
        masked = self.masked(record) if keep == "masked" else {}
        left = " ".join(str(value) for value in masked.values())
        shown = _without_quotes(brief, frozenset(deployment.task.known_labels), left)
        return (_json(masked) if keep == "masked" else None), _json(shown)

    def masked(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record with placeholders for the personal data in its texts."""
        names = [name for name, value in record.items() if isinstance(value, str)]
        texts = self._masker.record([record[name] for name in names]).texts
        return {**record, **dict(zip(names, texts, strict=True))}


def _without_quotes(value: Any, labels: frozenset[str], left: str) -> Any:
    """Return an answer without texts that are neither labels nor in what is left of the record after masking.

    An answer may quote the record, and a quote of a part of a telephone number would not be recognised as one.
    """
    if isinstance(value, str):
        return value if value in labels or value in left else None
    if isinstance(value, Mapping):
        return {name: _without_quotes(one, labels, left) for name, one in value.items()}
    if isinstance(value, Sequence):
        return [_without_quotes(one, labels, left) for one in value]
    return value


def _usage(call: Call, day: str) -> dict[Used, tuple[int, int, int, int]]:
    """Return what a call adds to usage; its tokens are divided among its verticals, because a text for several of them counts once."""
    count = len(call.verticals)
    used = {}
    for place, deployment in enumerate(call.verticals):
        tokens, cached = (whole // count + (place < whole % count) for whole in (call.tokens, call.cached_tokens))
        used[Used(day, call.customer, call.key or "", deployment.name)] = (1, len(call.records), tokens, cached)
    return used


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
