"""The section `watch` of the config: what is monitored, when people are told, and when a model is trained again; runs nothing.

What a model folder says of this is read with the model. Its channels are not: they come from the operator's file alone, because whoever
names an address decides where texts of users go.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from vertune.core import part
from vertune.core.bounded_yaml import read_yaml
from vertune.core.errors import ConfigError, NotFound, UnknownName
from vertune.core.kinds import Channel, Monitor
from vertune.core.monitor import LEAST
from vertune.core.parse import build
from vertune.core.section import Section

Severity = Literal["info", "warning", "critical"]
GoLive = Literal["never", "shadow", "canary", "live"]
VALIDATION = "validation"
"""The reference that consists of the validation rows of the live model."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([smhdw])\s*")
_LONGEST = timedelta(days=3660)
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]


def duration(text: str) -> timedelta:
    """Return the time that a text such as `90s`, `30m`, `1h`, `1d` or `2w` means; raise ConfigError for another text."""
    found = _DURATION.fullmatch(text)
    value = timedelta(0) if found is None else timedelta(seconds=min(float(found[1]) * _UNITS[found[2]], _LONGEST.total_seconds() + 1))
    if not timedelta(0) < value <= _LONGEST:
        raise ConfigError(f"'{text[:40]}' is no time; expected a number and one of s, m, h, d, w, at most 10 years. Write for example 1h.")
    return value


def _checked(text: str | None) -> str | None:
    if text is not None:
        duration(text)
    return text


class Rule(Section):
    """When people are told of what monitors find."""

    name: _Name
    """What the rule is called."""
    monitors: list[str] = []
    """The monitors whose findings count; empty means all."""
    severity: Severity = "warning"
    """How bad it is: info, warning or critical."""
    after: int = Field(default=2, ge=1, le=100)
    """Number of successive windows in which a monitor must see a change; a rule whose alerts people called false needs more."""
    calm: int = Field(default=2, ge=1, le=100)
    """Number of successive windows without a change after which the alert is resolved."""
    cool_down: str = "1d"
    """Time after the end of an alert in which the rule raises no other one."""
    channels: list[str] = []
    """The names of the channels on which people are told; empty means all."""

    _check_time = field_validator("cool_down")(_checked)

    @field_validator("monitors")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in part.names(Monitor.folder):
                raise UnknownName("monitor", name, part.names(Monitor.folder))
        return value

    def covers(self, monitor: str) -> bool:
        """Return whether the findings of this monitor count."""
        return not self.monitors or monitor in self.monitors


class Retrain(Section):
    """When a vertical is trained again without a person, and how far the new model goes; without an option, it never is."""

    labels: int | None = Field(default=None, ge=1)
    """Number of new labels and of feedback with the right answer after which it is trained; None does not count them."""
    on_drift: bool = False
    """Whether an alert is a reason to train it."""
    every: str | None = None
    """Time after which it is trained again if there is anything new, such as 4w; None sets no time."""
    go_live: GoLive = "shadow"
    """How far a model goes that has passed the gate: `never` leaves it to a person, `shadow` lets it answer copies of requests, `canary`
    a share of the requests after that, and `live` all of them once it was compared on enough of them."""
    enough: int = Field(default=200, ge=1)
    """Number of answers in shadow, and then as a canary, after which a model that is not worse goes on."""
    least_pause: str = "1d"
    """Least time between two trainings."""
    tolerance: float = Field(default=0.005, ge=0, le=1)
    """How much worse the main metric on gold rows may be: absolute for a metric between 0 and 1, else a fraction of the live model's."""

    _check_times = field_validator("every", "least_pause")(_checked)

    @property
    def wanted(self) -> bool:
        """Whether anything is a reason to train again."""
        return self.labels is not None or self.on_drift or self.every is not None


FAILURES = ("errors", "latency", "volume")
"""The monitors of the default rule `failures`: no training helps against what they find."""
_QUALITY = ("feedback_quality", "estimated_accuracy", "calibration", "fairness", "shadow_disagreement")


def default_rules() -> list[Rule]:
    """Return the rules of a config without any: failures, quality and drift, which divide all monitors among them."""
    known = part.names(Monitor.folder)
    drift = [name for name in known if name not in (*FAILURES, *_QUALITY)]
    listed = {rule: [name for name in names if name in known] for rule, names in (("failures", FAILURES), ("quality", _QUALITY))}
    return [
        Rule(name="failures", monitors=listed["failures"], severity="critical", calm=1, cool_down="1h"),
        Rule(name="quality", monitors=listed["quality"], severity="critical"),
        Rule(name="drift", monitors=drift),
    ]


class Watch(Section):
    """What is monitored, when people are told, and when the model is trained again."""

    monitors: list[SerializeAsAny[Monitor]] | None = None
    """The monitors; None means all that need no option."""
    reference: str = VALIDATION
    """What requests are compared with: `validation`, or the first weeks live, as a time such as 2030-01-01..2030-01-14."""
    window: int | str = 500
    """How many requests are compared at a time: a number, or those of a time such as 1d."""
    every: str = "1h"
    """Time between two looks."""
    column: str | None = Field(default=None, max_length=200)
    """The column whose groups are compared with each other for fairness; None compares none."""
    rules: list[Rule] | None = None
    """When people are told; None means the rules failures, quality and drift, which divide the monitors among them."""
    channels: Annotated[list[SerializeAsAny[Channel]], Field(exclude=True)] = []
    """On which channels. They are never stored with a model, and are read from the operator's file alone: `vertune serve --set
    watch=FILE`, `vertune watch --file FILE`."""
    language: Literal["en", "zh"] = "en"
    """The language of messages."""
    retrain: Retrain = Retrain()
    """When the model is trained again."""

    _check_time = field_validator("every")(_checked)

    @field_validator("window")
    @classmethod
    def _window(cls, value: int | str) -> int | str:
        if isinstance(value, str):
            duration(value)
        elif not 1 <= value <= 1_000_000:
            raise ConfigError(f"The window is {value} requests; expected 1 to 1,000,000. Write a number such as 1000, or a time: 1d.")
        return value

    @field_validator("reference")
    @classmethod
    def _reference(cls, value: str) -> str:
        _span(value)
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Watch:
        for what, names in (("channels", [one.called for one in self.channels]), ("rules", [one.name for one in self.rules or ()])):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ConfigError(f"Two of the {what} are called '{twice}'; expected different names. Rename one of them.")
        channels = [one.called for one in self.channels]
        for rule in self.rules or ():
            if missing := next((name for name in rule.channels if channels and name not in channels), None):
                raise UnknownName("channel", missing, channels, f"the rule '{rule.name}'")
        return self

    def check(self) -> None:
        """Raise ConfigError for what would never tell anybody anything, although each option alone is valid."""
        if isinstance(self.window, int) and self.window < LEAST:
            raise ConfigError(
                f"The window is {self.window} requests; expected {LEAST} or more, of which a decision is made. Write for example 500."
            )
        names = [one.name for one in self.monitors or ()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(
                f"The monitor '{twice}' is listed twice; expected each once, because what it finds is stored by its name. Remove one."
            )

    @property
    def rules_in_force(self) -> list[Rule]:
        """The rules, or those of a config without any."""
        return default_rules() if self.rules is None else self.rules

    @property
    def interval(self) -> timedelta:
        """The time between two looks."""
        return duration(self.every)

    @property
    def length(self) -> int | timedelta:
        """How long a window is: a number of requests, or a time."""
        return duration(self.window) if isinstance(self.window, str) else self.window

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """When the reference begins and ends; None for the validation rows."""
        return _span(self.reference)


def _span(text: str) -> tuple[datetime, datetime] | None:
    """Return the beginning and the end (exclusive) of a reference in UTC; None for the validation rows."""
    if text == VALIDATION:
        return None
    begin, _, end = text.partition("..")
    try:
        first, last = (datetime.fromisoformat(one.strip()) for one in (begin, end))
        last += timedelta(days=_is_day(end))  # the last day counts
    except (OverflowError, ValueError) as error:
        raise ConfigError(
            f"The reference is '{text[:80]}'; expected 'validation', or the first and the last day or moment. Write for example "
            "2030-01-01..2030-01-14."
        ) from error
    first, last = (one if one.tzinfo else one.replace(tzinfo=UTC) for one in (first, last))
    if last <= first:
        raise ConfigError(f"The reference '{text[:80]}' ends before it begins; expected the earlier time first. Swap the two times.")
    return first, last


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


class WatchFile:
    """What the operator wrote for the verticals of a home: options for all of them, and for some by name."""

    def __init__(self, common: dict[str, Any] | None = None, verticals: dict[str, dict[str, Any]] | None = None) -> None:
        """`common` are options of the section `watch` for all verticals, and `verticals` are further ones by name, which count more."""
        self._common, self._verticals = common or {}, verticals or {}

    @classmethod
    def read(cls, file: Path) -> WatchFile:
        """Read a file with options of the section `watch` and, below `verticals`, those of some by name; or a run.yaml, for its vertical.

        Raises NotFound if there is no such file, and ConfigError if it contains something else.
        """
        if not file.is_file():
            raise NotFound(f"There is no file '{file}'; expected options of the section `watch`. Write one, or correct the path.")
        value = read_yaml(file) or {}
        verticals = value.get("verticals", {}) if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(verticals, dict) or not all(isinstance(one, dict) for one in verticals.values()):
            raise ConfigError(
                f"{file} contains no options of the section `watch`; expected a mapping, with a mapping for each name below `verticals`. "
                "Write for example `every: 1h`."
            )
        if "data" in value:
            own = value.get("watch") or {}
            if not isinstance(own, dict):
                raise ConfigError(
                    f"The section `watch` of {file} is a value of type {type(own).__name__}; expected a mapping. Write for example "
                    "`watch: {every: 1h}`."
                )
            found = cls(verticals={str(value.get("name", "vertical")): own})
        else:
            found = cls(
                {key: item for key, item in value.items() if key != "verticals"}, {str(name): one for name, one in verticals.items()}
            )
        found._check()
        return found

    def _check(self) -> None:
        """Raise ConfigError for options that are not valid, and for two channels of one name, which messages could not tell apart."""
        known: dict[str, tuple[str, Channel]] = {}
        for name in self._verticals or [""]:
            watch = self.watch(name, Watch())
            watch.check()
            if missing := next((one for rule in watch.rules or () for one in rule.channels if not watch.channels), None):
                raise UnknownName("channel", missing, (), "this file, which has none")
            for channel in watch.channels:
                earlier, other = known.setdefault(channel.called, (name, channel))
                if other != channel:
                    raise ConfigError(
                        f"The verticals '{earlier}' and '{name}' have different channels that are called '{channel.called}'; expected "
                        "different names, because messages are sent by the name. Give one of them an `id`."
                    )

    @property
    def names(self) -> frozenset[str]:
        """The names of the verticals that the operator wrote options for."""
        return frozenset(self._verticals)

    def watch(self, name: str, own: Watch) -> Watch:
        """Return the options for a vertical, given those of its model, whose channels never count."""
        written = own.model_dump(mode="json", exclude={"channels"})
        return build(Watch, {**written, **self._common, **self._verticals.get(name, {})}, f"watch of '{name}'" if name else "watch")
