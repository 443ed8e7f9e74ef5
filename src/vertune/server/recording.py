"""Turns finished calls into rows of the database, with texts masked or left out; does not depend on how rows are written."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from vertune.answering.call import Call
from vertune.server.settings import TrafficSettings
from vertune.server.texts import StoredTexts
from vertune.store.database import Database, format_time
from vertune.store.retention import Retention
from vertune.store.traffic import Entry, Used, fingerprint, fingerprint_key
from vertune.store.writer import Writer


class Recorder:
    """A listener of finished calls that stores them, in groups and in a thread of its own, and counts what customers use."""

    def __init__(self, database: Database, texts: StoredTexts, settings: TrafficSettings) -> None:
        self._database, self._texts = database, texts
        self._retention = Retention(database, settings.days, settings.megabytes)
        self._key = fingerprint_key(database)
        self.writer: Writer[tuple[Call, float]] = Writer(database, self._entry, self._retention.step)

    def __call__(self, call: Call) -> None:
        """Take a finished call.

        Calls that reached no model are not stored, because clients can cause them at will; nor are failed ones that will be repeated with
        the same idempotency key, because the answered one is to be counted.
        """
        if call.verticals and (call.idempotency is None or call.status == 200):
            self.writer.add((call, time.time()))

    def start(self) -> None:
        """Start to store finished calls."""
        self._database.hold()
        self.writer.start()

    def stop(self) -> None:
        """Store the calls that are finished, and stop."""
        self.writer.stop()

    def _entry(self, item: tuple[Call, float]) -> Entry:
        call, seconds = item
        at = datetime.fromtimestamp(seconds, UTC)
        request = {
            "id": call.id, "at": format_time(at), "customer": call.customer, "key": call.key, "resource": call.resource,
            "status": call.status, "seconds": call.total, "records": len(call.records), "tokens": call.tokens,
            "cached_tokens": call.cached_tokens, "idempotency": call.idempotency,
        }  # fmt: skip
        if call.status != 200:
            return Entry(request)
        return Entry(request, self._answers(call), _usage(call, f"{at:%Y-%m-%d}"))

    def _answers(self, call: Call) -> list[dict[str, Any]]:
        rows = []
        fingerprints = [fingerprint(record, self._key) for record in call.records]
        for place, (deployment, answers) in enumerate(zip(call.verticals, call.answers, strict=True)):
            for number, (record, answer) in enumerate(zip(call.records, answers, strict=True)):
                assert answer is not None
                kept, shown = self._texts.answered(deployment, record, answer)
                row = {
                    "request": call.id, "number": place * len(call.records) + number, "vertical": deployment.name,
                    "model": deployment.model.id, "record": kept, "fingerprint": fingerprints[number], "answer": shown,
                    "confidence": deployment.task.confidence(answer),
                }  # fmt: skip
                rows.append(row)
        return rows


def _usage(call: Call, day: str) -> dict[Used, tuple[int, int, int, int]]:
    """Return what a call adds to usage; its tokens are divided among its verticals, because a text for several of them counts once."""
    count = len(call.verticals)
    used = {}
    for place, deployment in enumerate(call.verticals):
        tokens, cached = (whole // count + (place < whole % count) for whole in (call.tokens, call.cached_tokens))
        used[Used(day, call.customer, call.key or "", deployment.name)] = (1, len(call.records), tokens, cached)
    return used
