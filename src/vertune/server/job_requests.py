"""Turns the request for a job into what its process reads; refuses paths, so that a customer reads nothing but its own records.

A config in a request is that of run.yaml, except for its sources, which are one of: a dataset that the customer uploaded, feedback on a
vertical, or a source that the administrator declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vertune.core import base as bases
from vertune.core.artifact import Artifact, Home
from vertune.core.bounded_yaml import read_yaml
from vertune.core.config import Config, dump
from vertune.core.errors import AccessError, ConfigError, NotFound, UnknownName
from vertune.core.parse import build
from vertune.store.key import Scope
from vertune.store.storable import Storable

_SOURCES = ("source", "validation", "test", "unlabelled")
_PATHS = frozenset({"path", "paths", "file", "files", "folder", "home", "url", "teacher", "trackers", "command", "device"})
"""Options of parts that name what is not the customer's: files, machines and models."""
_OPERATORS = ("channels", "retrain")
"""Options of the section `watch` that the operator alone sets."""
Name = Annotated[Storable, Field(min_length=1, max_length=120)]
"""PostgreSQL can't compare a text that contains the character 0."""


class JobRequest(BaseModel):
    """What is to be done."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "fit", "config": {"name": "support", "data": {"source": {"dataset": "0195…"}}, "task": "classify"}},
                {"kind": "predict", "model": "support", "dataset": "0195…"},
            ]
        },
    )

    kind: Literal["prepare", "train", "fit", "evaluate", "compress", "share", "predict", "retrain"]
    config: dict[str, Any] | None = None
    """For `prepare`, `train` and `fit`: the config, as in run.yaml. Each source in `data` is `{"dataset": ID}`, `{"feedback": VERTICAL}`,
    `{"labels": PROJECT}`, with `"held": true` for the decided records of its hold-out, or `{"declared": NAME}`."""
    model: Name | None = None
    """For `evaluate`, `compress`, `share`, `predict` and `retrain`: a vertical, whose live model is meant, or the id of a model; `share`
    prepares it for serving, and `retrain` makes a candidate for its vertical, which the report compares with the live model."""
    dataset: Name | None = None
    """For `predict`, and if wanted for `evaluate`: the id of an uploaded dataset."""
    on: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=20)] | None = None
    """For `retrain`: the sources of new rows, as in `data`. Rows that could poison the model are held back and listed in its dataset."""
    priority: Annotated[int, Field(ge=0, le=9)] = 4
    """Jobs with a higher one begin earlier; above 4, the key needs the permission `admin`."""
    accept: bool = False
    """Whether `fit` lets the first model of a vertical go live even if it is worse than a simple baseline, and `compress` keeps a model
    that the rows can't judge."""

    @model_validator(mode="after")
    def _complete(self) -> JobRequest:
        needed = {
            "config": self.kind in _WITH_CONFIG, "model": self.kind not in _WITH_CONFIG, "dataset": self.kind == "predict",
            "on": self.kind == "retrain",
        }  # fmt: skip
        for name, wanted in needed.items():
            given = getattr(self, name) is not None
            if wanted and not given:
                raise ValueError(f"a job of the kind '{self.kind}' needs '{name}'")
            if given and not wanted and (name, self.kind) != ("dataset", "evaluate"):
                raise ValueError(f"a job of the kind '{self.kind}' has no '{name}'")
        return self


_WITH_CONFIG = frozenset({"prepare", "train", "fit"})


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the records of jobs may come from."""

    declared: Mapping[str, Mapping[str, Any]]
    """Sources that the administrator declared, by name."""

    @classmethod
    def read(cls, file: Path | None) -> Sources:
        """Read the file with declared sources; raise ConfigError if it is no mapping of names to sources."""
        value = {} if file is None else read_yaml(file)
        if not isinstance(value, dict) or not all(isinstance(source, dict) and "name" in source for source in value.values()):
            raise ConfigError(
                f"{file} declares no sources; expected a mapping of names to sources. Write for example `news: {{name: csv, path: a.csv}}`."
            )
        return cls(value)

    def config(self, value: dict[str, Any], upload: Callable[[str], Path], customer: Callable[[Scope, str], str | None]) -> Config:
        """Return the config of a request; `upload` returns the file of a dataset, and `customer` whose feedback or labels are meant.

        `customer` gets the permission that is needed, and the name of the vertical or project.

        Raises ConfigError for a config that is not valid, names a path, or another option that a job can't set.
        """
        data = value.get("data")
        if not isinstance(data, dict) or data.get("source") is None:
            raise ConfigError("The config has no 'data' with a source. Add for example `data: {source: {dataset: ID}}`.")
        watch = value.get("watch")
        if wrong := next((name for name in _OPERATORS if isinstance(watch, dict) and name in watch), None):
            raise ConfigError(
                f"The config of a job can't set 'watch.{wrong}', because the operator of the server decides where texts go and what is "
                "trained without a person. Leave it out."
            )
        for where in _forbidden({**value, "data": {key: item for key, item in data.items() if key not in _SOURCES}}):
            raise ConfigError(f"The config of a job can't set '{where}', because it names what belongs to the machine. Leave it out.")
        encoder = value.get("encoder")
        for base in (value.get("base"), encoder.get("base") if isinstance(encoder, dict) else None):
            if base is not None:
                check_base(base)
        given = {key: self._source(data[key], upload, customer) for key in _SOURCES if data.get(key) is not None}
        return build(Config, {**value, "data": {**data, **given}})

    def new_rows(
        self, values: Sequence[Any], upload: Callable[[str], Path], customer: Callable[[Scope, str], str | None]
    ) -> list[dict[str, Any]]:
        """Return the sources of the new rows of a retraining, as its process reads them; raise ConfigError as `config` does."""
        return [self._source(value, upload, customer) for value in values]

    def _source(self, value: Any, upload: Callable[[str], Path], customer: Callable[[Scope, str], str | None]) -> dict[str, Any]:
        def of_dataset(id: str) -> dict[str, Any]:
            file = upload(id)
            return {"name": file.suffix[1:], "path": str(file)}

        def of_feedback(vertical: str) -> dict[str, Any]:
            return {"name": "feedback", "vertical": vertical, "customer": customer("feedback", vertical)}

        def of_labels(project: str) -> dict[str, Any]:
            return {"name": "labels", "project": project, "customer": customer("label", project), "held": bool(options.pop("held", False))}

        kinds = {"dataset": of_dataset, "feedback": of_feedback, "labels": of_labels, "declared": self._declared}
        options = dict(value) if isinstance(value, dict) else {}
        kind = next((one for one in kinds if one in options), "")
        name = options.pop(kind, None)
        chosen = kinds[kind](name) if kind and isinstance(name, str) and "\0" not in name else None
        if chosen is None or options:
            raise ConfigError(
                "A source of a job must be a dataset that was uploaded, feedback, the labels of a project, or a declared source; paths are "
                'refused. Write {"dataset": ID}, {"feedback": VERTICAL}, {"labels": PROJECT} or {"declared": NAME}.'
            )
        return chosen

    def _declared(self, name: str) -> dict[str, Any]:
        if name not in self.declared:
            raise UnknownName("declared source", name[:80], sorted(self.declared))
        return dict(self.declared[name])


def check_base(base: Any) -> None:
    """Raise UnknownName for a pretrained model that is not one of the known ones, because it may be a path or a download."""
    if base not in (bases.AUTO, *bases.ALIASES):
        raise UnknownName("base", str(base)[:80], [bases.AUTO, *bases.ALIASES])


def _forbidden(value: Any, where: str = "") -> Iterator[str]:
    """Yield the places of options that name a path, a machine or a model, in lists and mappings at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            place = f"{where}.{key}" if where else str(key)
            if key in _PATHS:
                yield place
            elif key not in _TEXTS:
                yield from _forbidden(item, place)
    elif isinstance(value, list):
        for item in value:
            yield from _forbidden(item, where)


_TEXTS = frozenset({"fields", "descriptions", "labels"})
"""Options whose keys are names of fields and labels, which may be called like anything."""


def work(config: Config, threads: int) -> dict[str, Any]:
    """Return a config as the process of a job reads it, on so many processors."""
    return dump(config.model_copy(update={"device": config.device.model_copy(update={"threads": threads})}))


def check_priority(request: JobRequest, administers: bool) -> None:
    """Raise AccessError for a priority that only administrators may give."""
    if request.priority > 4 and not administers:
        raise AccessError("A priority above 4 needs the permission 'admin'. Send 4 or less, or use another key.")


def check_rows(sent: str, model: Artifact, home: Home, customer: str | None) -> None:
    """Raise AccessError if the rows that a model was trained on belong to another customer, because the report of a retraining shows some.

    With None, all may be seen. `sent` is how the request names the model; raises NotFound if it is not the live one of its vertical.
    """
    name = str(model.manifest_or_empty.get("name"))
    if home.aliases().get(f"{name}@live") != model.id:
        raise NotFound(f"The model '{sent[:80]}' is not live, but training goes on from live models. Send a vertical's name.")
    if not _owns_rows(model, customer):
        raise AccessError(f"The rows that '{name}' was trained on are not those of this customer. Ask the administrator to train it again.")


def check_test_rows(model: Artifact, customer: str | None) -> None:
    """Raise AccessError if the test rows of a model belong to another customer, because the report of an evaluation shows some.

    With None, all may be seen.
    """
    if not _owns_rows(model, customer):
        name = str(model.manifest_or_empty.get("name"))
        raise AccessError(
            f"The test rows of '{name}' are not those of this customer, and the report would show some. Send a 'dataset' of this customer, "
            "or ask the administrator."
        )


def _owns_rows(model: Artifact, customer: str | None) -> bool:
    return customer is None or model.manifest_or_empty.get("customer") == customer
