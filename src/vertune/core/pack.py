"""Reads packs: folders with what an app knows about a field of work, as data; knows nothing of models, and of what an app does with it.

A pack has `pack.yaml` and, as far as its app uses them, `answers.yaml`, `faq.yaml`, `flows.yaml`, `lexicon.yaml`, `texts.yaml`,
`tests.yaml`, a folder with a `run.yaml` for each slot, and folders of documents. Everything that people read is written per language.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from vertune.core.conversation import Conversation
from vertune.core.errors import ConfigError, NotFound, UnknownName
from vertune.core.files import file_hash
from vertune.core.names import is_name
from vertune.core.parse import build
from vertune.core.regular import check_tree
from vertune.core.section import Section
from vertune.core.zone import ZoneName

FILE = "pack.yaml"
GROUP = "vertune.packs"
"""The group of entry points by which other packages add packs: a name, and the package whose folder is the pack."""
INTENT = "intent:"
"""What the ids of the passages of intents begin with."""
_MARK = "@"
"""Between the id of an entry and the language of its passage."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$", description="An ISO 639 code, such as zh.")]
_Read = TypeVar("_Read", bound=Section)


def _listed(value: Any) -> Any:
    """Return a text alone as a list of one; refuse what YAML reads as another value than a text, such as `no`."""
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, (bool, int, float, date)):
            raise ValueError(f"{one!r} is no text for YAML; put quotes around it")
    return values


Variants = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=4_000)]], BeforeValidator(_listed), Field(min_length=1, max_length=20)
]
"""One text, or several with the same meaning, of which any may be chosen."""
Words = dict[Language, Variants]
"""Texts by language: `{zh: 您好, en: [Hello, Hi]}`."""
Condition = dict[str, Any]
"""What must hold for an answer: names of known facts or of slots, with a value or a list of values each; `null` for one that is unknown."""
Title = dict[Language, Annotated[str, Field(min_length=1, max_length=200)]]


class ChoiceText(Section):
    """A button below a reply."""

    title: Title = Field(description="What people read on it.")
    value: str = Field(default="", max_length=200, description="What is sent back; empty for the title. `intent:NAME` asks for an intent.")


class AttachmentText(Section):
    """A link or a picture of a reply."""

    kind: Literal["link", "image"] = "link"
    title: Title
    url: str = Field(max_length=2_000, pattern=r"^https://\S+$|^/\S*$", description="An address with https, or a path of the page.")


class CuratedAnswer(Section):
    """One answer to an intent, which is given word for word; `{name}` stands for the slot or known fact of this name."""

    text: Words
    when: Condition = Field(default={}, description="When it is the right one; the first answer whose conditions hold is given.")
    valid_from: date | None = Field(default=None, description="The first day on which it may be given.")
    valid_until: date | None = Field(default=None, description="The last day on which it may be given.")
    version: str = Field(default="", max_length=60, description="What it is called in evidence, such as the date of a price list.")
    choices: list[ChoiceText] = Field(default=[], max_length=11)
    attachments: list[AttachmentText] = Field(default=[], max_length=12)

    @model_validator(mode="after")
    def _ordered(self) -> CuratedAnswer:
        if self.valid_from and self.valid_until and self.valid_from > self.valid_until:
            raise ValueError(f"valid_from {self.valid_from} is after valid_until {self.valid_until}")
        return self


class IntentAnswers(Section):
    """An intent, what people read where it is one of several, and its answers; an intent that begins a flow needs no answer."""

    intent: str = Field(min_length=1, max_length=200, description="The label of the model.")
    title: Title = Field(description="What is asked, in a few words, for the buttons of 'did you mean'.")
    answers: list[CuratedAnswer] = Field(default=[], max_length=100)
    handoff: Literal["policy", "sensitive_topic", "business_rule"] | None = Field(
        default=None, description="Why a person takes over when this is asked; None lets the app answer."
    )


class FaqEntry(Section):
    """A question with its answer, which search finds."""

    id: str = Field(min_length=1, max_length=200)
    title: Title = Field(default={})
    questions: Words = Field(description="Ways to ask, by language.")
    answer: Words
    url: str | None = Field(default=None, max_length=2_000, pattern=r"^https://\S+$|^/\S*$")
    customer: str | None = Field(default=None, description="The customer of the server who alone may see it; None is for all.")
    valid_from: date | None = None
    valid_until: date | None = None


class Rule(Section):
    """A rule of the business: in these conditions, a person takes over."""

    name: str = Field(min_length=1, max_length=100)
    when: Condition = Field(default={}, description="Known facts or slots, with a value or a list of values each.")
    intents: list[str] = Field(default=[], description="The intents that it concerns; empty for all.")


class Handover(Section):
    """When a person takes over."""

    misunderstood: int = Field(default=2, ge=1, le=10, description="After how many messages in a row that were not understood.")
    anger: float = Field(
        default=0.5, ge=0, le=1, description="From which probability of the slot `mood` that the label is one of `angry_labels`."
    )
    angry_labels: list[str] = Field(default=["angry"], description="The labels of the slot `mood` that mean anger.")
    sensitive: dict[str, Words] = Field(default={}, description="By topic: words that hand over at once.")
    rules: list[Rule] = Field(default=[], max_length=200)


class Hours(Section):
    """When people answer."""

    zone: ZoneName = Field(default="UTC", description="A time zone, such as Asia/Shanghai.")
    week: dict[Day, list[Annotated[str, Field(pattern=r"^[0-2]\d:[0-5]\d-[0-2]\d:[0-5]\d$")]]] = Field(
        description="By day: spans such as 09:00-18:00; a day that is missing is closed."
    )
    closed: list[date] = Field(default=[], description="Days on which nobody answers.")


class PackConfig(Section):
    """What pack.yaml holds."""

    app: str = Field(default="customer_service", description="The app that uses this pack.")
    title: Title
    about: Title = Field(default={})
    languages: list[Language] = Field(min_length=1, description="The languages in which it answers; the first one is the default.")
    slots: dict[str, str] = Field(default={}, description="By slot of the app: the config that trains its model, such as intents/run.yaml.")
    error: float = Field(
        default=0.02, gt=0, le=0.5, description="Share of the answers given that may be wrong; thresholds are learnt for it."
    )
    calibration: str | None = Field(
        default=None,
        description="CSV with the columns text and intent, on which thresholds are learnt and no model is trained; an empty intent is a "
        "message that belongs to none. Without it, the validation rows of the model are used.",
    )
    documents: list[str] = Field(default=[], description="Files and folders that are searched: Markdown, HTML, text, PDF.")
    known: list[str] = Field(default=[], description="Names of facts that the operator's page may tell, for conditions and answers.")
    hours: Hours | None = Field(default=None, description="When people answer; None means always.")
    handoff: Handover = Handover()
    match_labels: list[str] = Field(
        default=["1", "yes", "true", "relevant"], description="The labels of the slot `match` that mean that a text answers a message."
    )


@dataclass(frozen=True)
class Pack:
    """A pack in memory; each part of it is read when it is needed first."""

    folder: Path

    @cached_property
    def config(self) -> PackConfig:
        """What pack.yaml holds."""
        if not (self.folder / FILE).is_file():
            raise NotFound(f"There is no {FILE} in '{self.folder}'. Name a pack, or a folder with {FILE}: vertune app NAME init FOLDER")
        return self._build(PackConfig, FILE, {})

    @cached_property
    def intents(self) -> dict[str, IntentAnswers]:
        """The entries of answers.yaml by intent."""
        return self._by_name(IntentAnswers, "answers.yaml", "intent")

    @cached_property
    def faq(self) -> dict[str, FaqEntry]:
        """The entries of faq.yaml by id."""
        return self._by_name(FaqEntry, "faq.yaml", "id")

    @cached_property
    def lexicon(self) -> dict[str, Any]:
        """What lexicon.yaml holds, as it is written; the app checks it."""
        return self._mapping("lexicon.yaml")

    @cached_property
    def flows(self) -> dict[str, Any]:
        """What flows.yaml holds, as it is written; the app checks it."""
        return self._mapping("flows.yaml")

    @cached_property
    def texts(self) -> dict[str, dict[str, list[str]]]:
        """By name and language: the sentences of texts.yaml, which replace those of the app."""
        return build(_Texts, {"texts": self._read("texts.yaml", {})}, str(self.folder / "texts.yaml")).texts

    @cached_property
    def tests(self) -> list[Conversation]:
        """The conversations of tests.yaml, and of the files tests-*.yaml, each with what the app must do."""
        files = sorted(path.name for path in self.folder.glob("tests*.yaml"))
        return [one for file in files for one in self._build(_Tests, file, {}).conversations]

    def path(self, name: str) -> Path:
        """Return the path of a file or folder that the pack names; raise ConfigError if it is missing or leads out of the pack."""
        path = self.folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not path.exists():
            raise ConfigError(f"The pack '{self.folder.name}' names '{name}'; expected a file or folder inside of it. Correct {FILE}.")
        check_tree(self.folder, *Path(name).parts)
        return path

    def digest(self) -> str:
        """Return the SHA-256 of all files of the pack, which shows whether it has changed."""
        return files_digest(self.folder)

    def check(self, texts: Iterable[str] = (), slots: Mapping[str, str] | None = None) -> None:
        """Read all of the pack, and raise ConfigError for what does not fit together.

        `texts` are the names of the sentences that the app has, `slots` its slots with their tasks.
        """
        config, languages = self.config, set(self.config.languages)
        known = set(texts)
        for name in self.texts:
            if known and name not in known and not name.startswith("small_talk_"):
                raise UnknownName(f"text in {self.folder / 'texts.yaml'}", name, known)
        for slot in config.slots:
            if slots is not None and slot not in slots:
                raise UnknownName(f"slot of '{config.app}'", slot, slots)
        worded: list[tuple[str, Iterable[str]]] = [(f"intent '{name}'", entry.title) for name, entry in self.intents.items()]
        worded += [(f"intent '{name}'", one.text) for name, entry in self.intents.items() for one in entry.answers]
        worded += [(f"entry '{name}'", entry.answer) for name, entry in self.faq.items()]
        for owner, words in worded:
            if missing := sorted(languages - set(words)):
                raise ConfigError(
                    f"The {owner} of the pack '{self.folder.name}' has no text in '{missing[0]}'; expected one in each of "
                    f"{', '.join(config.languages)}. Add it, or remove the language from {FILE}."
                )
        self.lexicon, self.flows, self.tests  # noqa: B018 - reading them checks them

    def sources(self) -> list[Path]:
        """Return the files and folders of which a product is made, and which its copy of the pack lacks; raise ConfigError without one."""
        config = self.config
        named = [*config.slots.values(), *config.documents, *([config.calibration] if config.calibration else [])]
        return [self.path(name) for name in named]

    def _read(self, name: str, default: Any) -> Any:
        from vertune.core.bounded_yaml import read_yaml  # which answering with a model does not need

        file = self.folder / name
        if not file.exists():
            return default
        check_tree(self.folder, name)
        value = read_yaml(file)
        return default if value is None else value

    def _mapping(self, name: str) -> dict[str, Any]:
        value = self._read(name, {})
        if not isinstance(value, dict):
            raise ConfigError(f"{self.folder / name} holds a {type(value).__name__}; expected a mapping. Correct the file.")
        return value

    def _build(self, model: type[_Read], name: str, default: Any) -> _Read:
        return build(model, self._read(name, default), str(self.folder / name))

    def _by_name(self, model: type[_Read], name: str, key: str) -> dict[str, Any]:
        """Return the entries of a file that holds a list, by one of their fields, which must differ."""
        value = self._read(name, [])
        if not isinstance(value, list):
            raise ConfigError(f"{self.folder / name} holds a {type(value).__name__}; expected a list of entries. Correct the file.")
        found: dict[str, Any] = {}
        for number, one in enumerate(value, 1):
            entry = build(model, one, f"{self.folder / name}, entry {number}")
            if getattr(entry, key) in found:
                raise ConfigError(f"{self.folder / name} has two entries with the {key} '{getattr(entry, key)}'. Join or rename them.")
            found[getattr(entry, key)] = entry
        return found


class _Texts(Section):
    texts: dict[str, Words]


class _Tests(Section):
    conversations: list[Conversation] = Field(default=[], max_length=5_000)


def passage_id(entry: str, language: str) -> str:
    """Return the id of the passage by which an index finds an entry of the FAQ in one language."""
    return f"{entry}{_MARK}{language}"


def intent_passage(intent: str) -> str:
    """Return the id of the passage by which an index finds an intent."""
    return f"{INTENT}{intent}"


def entry_of(passage: str) -> str:
    """Return the id of the entry whose passage this is; that of a passage of a document stays as it is."""
    entry, mark, language = passage.rpartition(_MARK)
    return entry if mark and language.isalpha() and language.islower() else passage


def names() -> list[str]:
    """Return the names of all packs: those of vertune, and those that other packages add."""
    return sorted(_folders())


def open_pack(name: str | Path) -> Pack:
    """Return the pack with this name, or in this folder; raise NotFound if there is neither."""
    folders = _folders()
    if isinstance(name, str) and is_name(name) and name in folders and not Path(name, FILE).is_file():
        return Pack(_located(folders[name]))
    if Path(name, FILE).is_file():
        return Pack(Path(name).absolute())
    raise NotFound(f"There is no pack '{name}'. Choose one of {', '.join(sorted(folders)) or 'none'}, or name a folder with {FILE}.")


def files_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files in a folder of a pack."""
    digest = hashlib.sha256()
    for path in files_of(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_hash(path)}\0".encode())
    return digest.hexdigest()


def files_of(folder: Path) -> list[Path]:
    """Return the files of a pack in order, without hidden ones and what Python leaves."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in found if not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts))


@cache
def _folders() -> dict[str, Path | str]:
    """Return by name the folder of each pack of vertune, and the package of each other one, which is not imported yet."""
    ours = Path(__file__).resolve().parents[1] / "packs"
    found: dict[str, Path | str] = {entry.name: entry.value for entry in metadata.entry_points(group=GROUP)}
    return found | {path.parent.name: path.parent for path in sorted(ours.glob(f"*/{FILE}"))}


def _located(where: Path | str) -> Path:
    if isinstance(where, Path):
        return where
    file = import_module(where).__file__
    if file is None:
        raise NotFound(f"The package '{where}' of a pack has no folder; expected a package with __init__.py. Install another version.")
    return Path(file).parent
