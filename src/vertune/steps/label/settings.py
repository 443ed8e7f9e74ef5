"""The settings of a labelling project: what annotators are told, who sees which records, and which come first; checked where they enter."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vertune.core.base import AUTO
from vertune.core.errors import ConfigError
from vertune.core.kinds import Query, Task
from vertune.metrics.consensus import MODELLED
from vertune.metrics.right_answers import Rule
from vertune.steps.simulate import DEFAULT, query_of
from vertune.store.storable import Storable

LabelName = Annotated[Storable, Field(min_length=1, max_length=200)]
Text = Annotated[Storable, Field(max_length=20_000)]


class LabelHelp(BaseModel):
    """A label, and what annotators read about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: LabelName
    description: Text = ""
    examples: Annotated[list[Text], Field(max_length=20)] = []


class ProjectSettings(BaseModel):
    """How a project is labelled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    guidelines: Annotated[Storable, Field(max_length=200_000)] = ""
    """What annotators must know, in Markdown."""
    labels: Annotated[list[LabelHelp], Field(max_length=2000)] = []
    """The labels that annotators choose from, in this order."""
    overlap: Annotated[int, Field(ge=1, le=20)] = 1
    """How many annotators see each record."""
    query: str | dict[str, Any] = DEFAULT
    """Which records come first: a query, such as `margin`, or one with options."""
    base: Annotated[str, Field(min_length=1, max_length=500)] = AUTO
    """The pretrained model that ranks the records and suggests answers; with `auto`, the language of the texts decides."""
    batch: Annotated[int, Field(ge=5, le=1000)] = 50
    """After how many new labels the records are ranked again."""
    suggestions: Literal["shown", "hidden"] = "shown"
    """Whether annotators see what the model suggests. It saves time, but who sees a suggestion tends to agree with it."""
    hold_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """The share of the records, drawn at random, that only reviewers label, so that accuracy is measured on records nobody chose."""
    snap: Literal["words", "characters"] = "words"
    """The units in which spans are marked."""
    target: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """The score that is wanted, for the estimate of how many labels are still needed."""
    consensus: Rule = "majority"
    """What counts where annotators disagree: the majority, or the most probable answer by how reliable each is (Dawid and Skene)."""
    train_after: Literal["never", "curve"] | Annotated[int, Field(ge=20, le=1_000_000)] = "never"
    """After how many new labels a model is trained on all of them; with `curve`, when the learning curve says that labels help little."""

    @field_validator("query")
    @classmethod
    def _known_query(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        _built(value)
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [label.name for label in self.labels]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the label '{twice[:80]}' is listed twice; expected each label once")
        return self

    @property
    def chooser(self) -> Query:
        """The query."""
        return _built(self.query)

    def check(self, task: Task) -> None:
        """Raise ConfigError if annotators would have no labels to choose from, or if a setting can't work with the task."""
        self.check_rules(task)
        if needs_labels(task) and not self.labels:
            raise ConfigError(
                f"The project has no labels, but annotators of the task '{task.name}' choose from a list. Name them, for example "
                'in the settings: "labels": [{"name": "complaint"}, {"name": "question"}].'
            )

    def check_rules(self, task: Task) -> None:
        """Raise ConfigError if nobody can label records of the task, or if a setting can't work with it, whatever labels there are."""
        check_labelled(task)
        other = next((column for column in task.target_columns if column.type not in MODELLED), None)
        if self.consensus == "dawid_skene" and other is not None:
            raise ConfigError(
                f"The setting 'consensus' is 'dawid_skene', but the task '{task.name}' has the target '{other.name}' of the type "
                f"'{other.type}'; the model of Dawid and Skene expects labels from a list. Set 'consensus' to 'majority'."
            )
        if self.train_after == "curve" and not (task.linear_head and task.goal_sign > 0):
            raise ConfigError(
                f"The setting 'train_after' is 'curve', but a project of the task '{task.name}' has no learning curve. "
                "Set a number of labels, such as 500, or 'never'."
            )


def check_labelled(task: Task) -> None:
    """Raise ConfigError for a task whose records have no right answer that annotators must give."""
    if not any(column.required for column in task.target_columns):
        raise ConfigError(
            f"Records of the task '{task.name}' can't be labelled, because no right answer must be known of them; expected a task such as "
            "classify, multilabel, tag, match, regress or extract. Choose one of them."
        )


def needs_labels(task: Task) -> bool:
    """Return whether a right answer of this task consists of labels."""
    return any(column.type in ("label", "labels", "spans") for column in task.target_columns)


def _built(value: str | dict[str, Any]) -> Query:
    """Return the query that a name, or a name with options, stands for."""
    if isinstance(value, str):
        return query_of(value)
    from vertune.core.parse import build

    query: Query = build(Query, value)
    return query
