"""The base class of monitors, which compare requests with a reference, and the windows and findings that they exchange.

A window is what a vertical was asked in a stretch of time, and what it answered. Whether a finding is worth a message is decided
elsewhere: a monitor knows two windows, and nothing of other monitors, of earlier findings or of people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from vertune.core.part import Part
from vertune.core.records import Answer, Record
from vertune.core.sentence import said
from vertune.core.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Need = Literal["records", "answers", "states", "feedback", "times", "shadow"]
"""What a monitor can need of a window: texts, answers, vectors of texts, what is right, when and how fast, answers of a candidate."""
Unit = Literal["share", "number", "seconds"]
"""The unit of a value: a share from 0 to 1 (or a difference of shares), any number, or seconds."""
States = Callable[[Sequence[int]], "NDArray[np.float32] | None"]
"""Returns the vectors of the records at these positions, shape (positions, width); None if no engine is at hand."""
Verdict = Literal["quiet", "changed", "unknown"]
"""What is decided of a finding: nothing has changed, something has, or that can't be told."""
LEAST = 200
"""Least number of requests of which a decision is made."""
UNKNOWN = -1
"""The number of tokens of a record whose tokens were not counted."""


def no_states(positions: Sequence[int]) -> None:
    """Return None, for windows of which nothing can compute vectors."""
    return


@dataclass(frozen=True, slots=True)
class Window:
    """Requests of one vertical in a stretch of time, oldest first; all sequences have one length, one item per record."""

    task: Task
    at: NDArray[np.float64]
    """When each record arrived, in seconds since 1970; NaN if this is not known, as for rows of a dataset."""
    records: Sequence[Mapping[str, Any] | None]
    """The fields of each record; None where texts are not kept."""
    answers: Sequence[Answer | None]
    """None where the request failed."""
    confidences: NDArray[np.float64]
    """The probability that the model gave its answer; NaN where there is none."""
    seconds: NDArray[np.float64]
    """How long the request took; NaN where this is not known."""
    tokens: NDArray[np.int64]
    """Number of tokens of each record; `UNKNOWN` where they were not counted."""
    cut: NDArray[np.int64]
    """Number of tokens that did not fit into the model's input; `UNKNOWN` where they were not counted."""
    unknown: NDArray[np.int64]
    """Number of tokens that the tokenizer does not know; `UNKNOWN` where they were not counted."""
    right: NDArray[np.float64]
    """1 if feedback or a label says that the answer is right, 0 if it is wrong, NaN if nothing is known."""
    targets: Sequence[Mapping[str, Any] | None]
    """The right answers that feedback or labels name, as fields of the task."""
    errors: NDArray[np.float64]
    """How far an answer that is a number is from the right one; NaN where nothing is known, or where answers are no numbers."""
    shadow: Sequence[Answer | None]
    """What a candidate answered in shadow; None where there is none."""
    states: States = no_states
    hours: Sequence[tuple[float, int]] = ()
    """When each complete hour of the stretch began, with the number of its requests, where the records are a sample; else empty."""
    total: int = 0
    """Number of requests in the stretch, where there are more than records, which are a sample or those of one model; else 0."""
    span: tuple[float, float] | None = None
    """When the stretch began and ended, in seconds since 1970, where it does not begin and end with a record; there may be no record at
    all, and `total` is the number of requests."""

    def __len__(self) -> int:
        return len(self.records)

    @classmethod
    def of(cls, task: Task, records: Sequence[Record | None], answers: Sequence[Answer | None], **columns: Any) -> Self:
        """Return a window of these records and answers; `columns` are other fields of this class, and what is missing is not known.

        Confidences are those that the task finds in the answers, unless they are given.
        """
        import numpy as np

        count = len(records)
        given = {name: value for name, value in columns.items() if value is not None}
        if "confidences" not in given:
            sure = [None if answer is None else task.confidence(answer) for answer in answers]
            given["confidences"] = np.array([np.nan if one is None else one for one in sure], np.float64)
        for name, missing in _MISSING.items():
            kind = np.int64 if missing == UNKNOWN else np.float64
            given[name] = np.asarray(given[name], kind) if name in given else np.full(count, missing, kind)
        nothing = [None] * count
        return cls(task, records=records, answers=answers, **{"targets": nothing, "shadow": nothing, **given})

    @property
    def has(self) -> frozenset[Need]:
        """What this window holds for at least one record; vectors are not computed to find out."""
        import numpy as np

        found: dict[Need, bool] = {
            "records": any(record is not None for record in self.records),
            "answers": any(answer is not None for answer in self.answers),
            "states": self.states is not no_states,
            "feedback": bool(self.judged.any()),
            "times": bool(np.isfinite(self.at).any()) or bool(self.hours) or self.span is not None,
            "shadow": any(answer is not None for answer in self.shadow),
        }
        return frozenset(need for need, present in found.items() if present)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """For each record, whether feedback or a label says how good its answer is, shape (records,)."""
        import numpy as np

        known: NDArray[np.bool_] = np.isfinite(self.right) | np.isfinite(self.errors)
        return known

    def take(self, positions: Sequence[int] | NDArray[np.int64] | slice) -> Self:
        """Return the window of the records at these positions, in this order."""
        import numpy as np

        rows = np.arange(len(self))[positions]
        lists: dict[str, Any] = {name: [getattr(self, name)[row] for row in rows] for name in _LISTS}
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in ("confidences", *_MISSING)}
        taken = replace(self, **lists, **arrays, hours=(), total=0, span=None)  # which are those of all records
        if self.states is no_states:
            return taken
        states = self.states
        return replace(taken, states=lambda wanted: states([int(rows[one]) for one in wanted]))

    def followed_by(self, other: Self) -> Self:
        """Return the window of the records of both, without vectors."""
        import numpy as np

        lists: dict[str, Any] = {name: [*getattr(self, name), *getattr(other, name)] for name in _LISTS}
        arrays: dict[str, Any] = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("confidences", *_MISSING)}
        return type(self)(other.task, **lists, **arrays)

    def where(self, mask: NDArray[np.bool_]) -> Self:
        """Return the window of the records for which `mask`, shape (records,), is true."""
        return self.take(mask.nonzero()[0])

    def texts(self) -> list[str | None]:
        """Return the text inputs of each record, joined by line breaks; None where texts are not kept."""
        names = [column.name for column in self.task.input_columns if column.type in {"text", "category"}]
        return [
            None if record is None else "\n".join(str(record[name]) for name in names if record.get(name) is not None)
            for record in self.records
        ]

    def labels(self) -> list[str]:
        """Return the labels in all answers, each as often as it occurs."""
        return [label for answer in self.answers if answer is not None for label in self.task.named(answer)]


_LISTS = ("records", "answers", "targets", "shadow")
_MISSING = {
    "at": float("nan"), "seconds": float("nan"), "tokens": UNKNOWN, "cut": UNKNOWN, "unknown": UNKNOWN, "right": float("nan"),
    "errors": float("nan"),
}  # fmt: skip
"""The arrays of a window that need not be given, with the value that says that nothing is known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a monitor found in one window."""

    value: float | None
    """The quantity that the monitor measures, in the unit of the monitor; None if it can't be measured."""
    low: float | None = None
    high: float | None = None
    """The ends of its 95 % interval."""
    p: float | None = None
    """The probability of a difference like this one, or a larger one, if nothing has changed; None for a sequential monitor."""
    changed: bool | None = None
    """Whether this is a change by this monitor alone: significant, and larger than its option `least`. None if that can't be told."""
    why: str = ""
    """One sentence with the figures, or with the reason why nothing can be told; `core.sentence.said` makes one for all languages."""
    evidence: list[dict[str, Any]] = field(default_factory=list)
    """Rows of a table that shows what has changed, as JSON values; all rows have the same keys, which are the titles of its columns."""
    n: int = 0
    """Number of records that the value is computed from."""
    enough: bool = False
    """Whether the monitor sees to it that this is enough to decide, however few records there are: the fewer come, the more it says."""

    @classmethod
    def silent(cls, why: str, n: int = 0) -> Self:
        """Return the finding of a monitor that can't tell anything, for this reason."""
        return cls(None, why=why, n=n)


SIGNIFICANT = 0.01
"""The probability below which a monitor alone calls a difference significant."""


class Monitor(Part):
    """A component that compares the requests of a window with those of a reference."""

    folder: ClassVar[str] = "monitors"
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What the window and the reference must hold; without it, the monitor is not asked."""
    of_window: ClassVar[frozenset[Need]] = frozenset()
    """What the window must hold, but not the reference."""
    sequential: ClassVar[bool] = False
    """Whether it watches a stream by itself, so that it gets all requests since the reference, and no correction for many tests applies."""
    reaches_back: ClassVar[bool] = False
    """Whether its window is extended into the past until it has enough requests with feedback."""
    sees_pauses: ClassVar[bool] = False
    """Whether it can compare a stretch of time in which hardly any request came: a window with a `span` and no records."""
    on_request: ClassVar[bool] = False
    """Whether it works only if a config names it, because it needs an option that has no default."""
    title: ClassVar[str] = ""
    """What the value is, in a few words for a heading, such as `share of failed requests`."""
    unit: ClassVar[Unit] = "number"

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return what has changed in the window since the reference. The result depends on the content of both alone."""
        raise NotImplementedError

    def lacks(self, reference: Window, window: Window) -> str:
        """Return why this monitor can't compare these windows, as a sentence; empty if it can."""
        for name, one, needs in (("window", window, self.needs | self.of_window), ("reference", reference, self.needs)):
            missing = sorted(needs - one.has)
            if missing:
                what = "verdicts" if missing[0] == "feedback" and not _compares(one.task) else missing[0]
                return said(f"lacks.{name}", what=said(f"need.{what}"))
        return ""


def _compares(task: Task) -> bool:
    """Return whether an answer can be compared with a right answer that somebody names; a vector can't."""
    return task.names_labels or task.answers_with_places or any(column.type == "number" for column in task.target_columns)
