"""Checks the feedback that a client sends, and turns it into a row of the database; does not depend on HTTP."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from cachetools import LRUCache
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vertune.core.errors import Busy, ConfigError, DataError, NotFound, StorageError
from vertune.core.ids import time_of, time_ordered_id
from vertune.core.records import Record
from vertune.data.validate import check_labels, checked_target, read_fields, records_of_texts, select_fields, validate_records
from vertune.runtime.fleet import Deployment
from vertune.server.body import TooLarge, check_length
from vertune.server.texts import StoredTexts, as_json, masked_name
from vertune.store.database import Database, format_time
from vertune.store.feedback import ROW, Feedback, Verdict, add
from vertune.store.feedback import size as feedback_size
from vertune.store.storable import Storable
from vertune.store.traffic import StoredAnswer, find_answer, fingerprint, fingerprint_key, idempotency_hash, parse_answer_id

_UNWRITTEN_SECONDS = 0.6
"""Maximum seconds to wait for an answer that was given a moment ago and is not stored yet."""
_LOOK_SECONDS = 0.05
"""Seconds between two looks whether it is stored."""
_RETRY_SECONDS = 2.0
"""Seconds after which feedback on an answer that is still not stored should be sent again."""
_CUSTOMERS = 10_000
"""Number of customers of which it is remembered how much feedback they have."""
_MEASURE_SECONDS, _FULL_SECONDS = 600.0, 10.0
"""Seconds after which this is measured again, and after which it is where a customer may give no more."""
_MOST_WAITING = 8
"""Maximum number of requests that wait so at the same time, because each takes one of the threads for all requests."""
Short = Annotated[Storable, Field(min_length=1, max_length=200)]
"""A short text; PostgreSQL stores no character 0."""


class FeedbackRequest(BaseModel):
    """What a user says about an answer of the server, or about a text or record of the user's own."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"answer": "0197…-0", "target": "card_arrival", "score": 2}]})

    answer: Short | None = None
    """The id of the answer: one of the field `ids` beside answers."""
    vertical: Short | None = None
    """The name of the vertical (model), if no answer is named."""
    text: str | None = None
    """The text, if no answer is named, or the text of the answer if the server does not keep texts as they are."""
    record: dict[str, Any] | None = None
    """The record instead of the text, for models that read several fields."""
    verdict: Verdict | None = None
    target: Any = None
    """The right answer: a label, a list of labels, a list of spans, or a number; or an object with the target fields of the task."""
    new_labels: bool = False
    """Whether `target` may contain labels that the model does not know."""
    comment: Annotated[Storable, Field(max_length=10_000)] | None = None
    score: Annotated[int, Field(ge=1, le=5, strict=True)] | None = None
    """How satisfied the user is, from 1 (not at all) to 5."""
    author: Short | None = None
    """Who says so."""
    trust: Annotated[float, Field(ge=0, le=1, strict=True)] = 1.0
    """How much this feedback is to be believed, from 0 to 1; a source of training records can leave out what is below a limit."""

    @model_validator(mode="after")
    def _check(self) -> FeedbackRequest:
        if (self.answer is None) == (self.vertical is None):
            raise ValueError("expected exactly one of the fields 'answer' and 'vertical'")
        if self.text is not None and self.record is not None:
            raise ValueError("expected at most one of the fields 'text' and 'record'")
        if self.vertical is not None and self.text is None and self.record is None:
            raise ValueError("expected the field 'text' or 'record' with the field 'vertical'")
        if self.verdict is None and self.target is None and self.comment is None and self.score is None:
            raise ValueError("expected at least one of the fields 'verdict', 'target', 'comment' and 'score'")
        if self.verdict == "right" and self.target is not None:
            raise ValueError("expected no field 'target' where the verdict is 'right', because the answer itself is the right one")
        return self


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends feedback."""

    customer: str
    key: str | None
    """The id of the API key; None without one."""
    sees_all: bool
    """Whether the key may give feedback on answers of other customers."""


@dataclass(frozen=True, slots=True)
class FeedbackLimits:
    """How much feedback a server takes."""

    characters: int
    """Maximum length of one text, and of a target as JSON."""
    megabytes: float
    """Maximum size of the feedback of one customer."""


class _Space:
    """How much space the feedback of each customer takes; it is measured now and then, and what this server adds is added."""

    def __init__(self, database: Database, megabytes: float) -> None:
        self._database, self._megabytes = database, megabytes
        self._sizes: LRUCache[str, tuple[int, float]] = LRUCache(_CUSTOMERS)
        """By customer, the size in bytes and the monotonic time at which it was measured."""
        self._lock = threading.Lock()

    def take(self, customer: str, bytes: int) -> None:
        """Add what is about to be stored; raise StorageError if the customer would have more than it may."""
        with self._lock:  # one measures, and the others wait for it
            now, limit = time.monotonic(), self._megabytes * 1e6
            size, measured = self._sizes.get(customer, (0, -math.inf))
            if now - measured > (_MEASURE_SECONDS if size + bytes <= limit else _FULL_SECONDS):
                with self._database.reading() as connection:
                    size, measured = feedback_size(connection, customer), now
            if size + bytes <= limit:
                size += bytes
                self._sizes[customer] = size, measured
                return
            self._sizes[customer] = size, measured
        raise StorageError(
            f"The feedback of '{customer}' takes {size / 1e6:.0f} MB, and may take {self._megabytes:g} MB. Delete some with DELETE "
            "/v1/feedback/ID, or ask the operator of the server for more: --set traffic.feedback=MEGABYTES"
        )


class FeedbackBox:
    """Takes the feedback of one server."""

    def __init__(
        self, database: Database, texts: StoredTexts, waits: Callable[[str, str | None], bool], limits: FeedbackLimits
    ) -> None:  # fmt: skip
        """`waits` returns whether a request, given its id and customer (None: any), is answered and not stored yet."""
        self.database, self._texts, self._waits, self._limits = database, texts, waits, limits
        self._space = _Space(database, limits.megabytes)
        self._key = fingerprint_key(database)
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def answered(self, id: str, sender: Sender) -> StoredAnswer:
        """Return the stored answer with this id.

        Raises NotFound if there is none, or if it was given to another customer; the message does not tell which. Raises Busy if it is to
        be stored later, because requests can't be stored at the moment.
        """
        request, _ = parse_answer_id(id)
        customer = None if sender.sees_all else sender.customer
        waits = self._waits(request, customer)  # before the database is asked, to which it may move meanwhile
        found = self._stored_answer(id)
        if found is None and (waits or _is_recent(id)) and self._waiting.acquire(blocking=False):
            try:
                end = time.monotonic() + _UNWRITTEN_SECONDS
                while found is None and time.monotonic() < end:
                    time.sleep(_LOOK_SECONDS)
                    waits = self._waits(request, customer)
                    found = self._stored_answer(id)
            finally:
                self._waiting.release()
        if found is not None and (sender.sees_all or found.customer == sender.customer):
            return found
        if found is None and waits:
            raise Busy(f"The answer with the id '{id}' is not stored yet. Send the feedback again in {_RETRY_SECONDS:g} s.", _RETRY_SECONDS)
        raise NotFound(
            f"No answer with the id '{id}' is stored: it may be older than answers are kept, or deleted. Send the vertical and the text "
            "instead of the id."
        )

    def _stored_answer(self, id: str) -> StoredAnswer | None:
        with self.database.reading() as connection:
            return find_answer(connection, id)

    def take(
        self, body: FeedbackRequest, sender: Sender, deployment: Deployment, answered: StoredAnswer | None, idempotency: str | None
    ) -> tuple[Feedback, bool]:
        """Check feedback and store it; return it, with whether it is new.

        `deployment` is the vertical that it is about, and `answered` the answer, if it names one. Raises DataError if the record does
        not belong to the answer, or if the right answer is none that the task accepts; UnknownName for an unknown label.
        """
        sent = self._sent(body, deployment)
        check_length([sent or {}], self._limits.characters)
        if sent is not None and answered is not None and fingerprint(sent, self._key) != answered.fingerprint:
            raise DataError("The text or record is not the one that the answer was given to. Send it unchanged, or leave it out.")
        given = sent if sent is not None else answered.record if answered is not None else None
        record = None if given is None else validate_records(deployment.predictor, [given])[0]
        exact = sent is not None or self._texts.kept(deployment) == "yes"
        target = self._target(body, deployment, answered, record, exact)
        if (size := len(as_json(target))) > self._limits.characters:
            raise TooLarge(
                f"The target has {size} characters as JSON; at most {self._limits.characters} are allowed. Send fewer or shorter values."
            )
        stored = _Stored(
            None if record is None else dict(record), self._texts.target(deployment, target),
            _verdict(body, deployment, answered, record, target),
            None if answered is None else answered.fingerprint,
        )  # fmt: skip
        if sent is not None and record is not None:  # else it was masked when it was stored
            stored.record, stored.target = self._texts.labelled(deployment, record, target)
            stored.fingerprint = fingerprint(sent, self._key)
        row = self._row(body, sender, deployment, answered, stored) | {"idempotency": idempotency_hash(idempotency, self._key)}
        self._space.take(row["customer"], ROW + sum(len(row[name].encode()) for name in ("record", "target", "comment") if row[name]))
        return add(self.database, row, idempotency)

    def _sent(self, body: FeedbackRequest, deployment: Deployment) -> Mapping[str, Any] | None:
        """Return the record that feedback contains, in the form in which requests for predictions are stored."""
        if body.text is not None:
            return records_of_texts(deployment.task, deployment.name, [body.text])[0]
        if body.record is None:
            return None
        return read_fields(deployment.predictor, select_fields([deployment.predictor], [body.record])[0])

    def _target(
        self, body: FeedbackRequest, deployment: Deployment, answered: StoredAnswer | None, record: Record | None, exact: bool
    ) -> dict[str, Any] | None:
        """Return the fields of the right answer; None if it is not known.

        `exact` is whether offsets in the target fit the record.
        """
        task = deployment.task
        places = task.answers_with_places
        if body.target is None:
            if body.verdict != "right" or answered is None or (places and (not exact or record is None)):
                return None
            return task.as_target(dict(answered.answer), record or {}) or None
        if not task.target_columns:
            raise ConfigError(f"The task '{task.name}' has no right answers, so a 'target' has no meaning. Leave it out.")
        if record is None or (places and not exact):
            raise DataError("The text of this answer is not kept, so the target can't be checked with it. Send the text or record too.")
        fields = body.target if isinstance(body.target, dict) else {task.target_columns[0].name: body.target}
        target = checked_target(task, record, fields)
        if task.names_labels and not body.new_labels:
            check_labels(task, target)
        return target

    def _row(
        self, body: FeedbackRequest, sender: Sender, deployment: Deployment, answered: StoredAnswer | None, stored: _Stored
    ) -> dict[str, Any]:
        digest = hashlib.blake2b(body.model_dump_json().encode(), digest_size=16, key=self._key).digest()
        return {
            "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "key": sender.key,
            # feedback of an administrator on an answer belongs to who was answered, as its text does
            "customer": sender.customer if answered is None else answered.customer,
            "vertical": deployment.name, "model": deployment.model.id if answered is None else answered.model,
            "request": answered and answered.request, "number": None if answered is None else answered.number,
            "record": None if stored.record is None else as_json(stored.record), "fingerprint": stored.fingerprint,
            "verdict": stored.verdict, "target": None if stored.target is None else as_json(stored.target),
            "comment": self._texts.comment(deployment, body.comment), "score": body.score, "trust": body.trust,
            "author": masked_name(body.author), "digest": digest,
        }  # fmt: skip


@dataclass(slots=True)
class _Stored:
    """The parts of feedback in the form in which they are stored."""

    record: dict[str, Any] | None
    target: dict[str, Any] | None
    verdict: Verdict | None
    fingerprint: bytes | None


def _verdict(
    body: FeedbackRequest, deployment: Deployment, answered: StoredAnswer | None, record: Record | None, target: dict[str, Any] | None
) -> Verdict | None:
    """Return whether the answer was right; where the user only names the right answer, the two are compared.

    A number that a user names is neither right nor wrong: how near is near enough is not known.
    """
    if body.verdict is not None or target is None or answered is None:
        return body.verdict
    task = deployment.task
    if any(column.type == "number" for column in task.target_columns):
        return None
    given = task.as_target(dict(answered.answer), record or {})
    return "right" if given and all(_is_same(given.get(name), value) for name, value in target.items()) else "wrong"


def _is_same(given: Any, target: Any) -> bool:
    """Return whether two targets are the same; the order of labels, spans and accepted answers means nothing."""
    if isinstance(given, list) and isinstance(target, list):
        return sorted(map(as_json, given)) == sorted(map(as_json, target))
    return bool(given == target)


def _is_recent(id: str) -> bool:
    """Return whether an answer is so new that it may not be stored yet; the id begins with the time in milliseconds."""
    try:
        made = time_of(id)
    except ValueError:
        return False
    return abs(time.time() - made) < 10 * _UNWRITTEN_SECONDS
