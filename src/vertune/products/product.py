"""Opens products and lets them reply: an app with its pack, models, index and what it learnt; knows nothing of HTTP and of databases."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from vertune.core import part
from vertune.core.app import App, Ask, Reply, Request, Said
from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ConfigError, DataError, StorageError
from vertune.core.files import read_json, write_json
from vertune.core.pack import Pack
from vertune.core.parse import build
from vertune.core.regular import is_present, regular_file
from vertune.core.section import Section
from vertune.products.additions import Additions, Searched
from vertune.products.asking import Asking, LoadedModels, Models
from vertune.products.passages import INDEX, vectors_of
from vertune.retrieval.index import Index
from vertune.store.entries import Entry

FILE = "product.json"
ENTRIES = "entries.json"
"""The file with the entries that people had added when the product was made; its index has them too."""
PACK = "pack"
"""The folder with the copy of the pack, without the data on which models were trained and the documents, which the index holds."""
FORMAT = 1
LONGEST = 10_000
"""Most characters of a message."""


class Content(Section):
    """What product.json holds."""

    format: int = Field(default=FORMAT, le=FORMAT)
    app: str
    pack: str = Field(description="The name of the pack.")
    digest: str = Field(description="The hash of the pack, with the data of its slots.")
    slots: dict[str, str] = Field(description="By slot: the id of its model.")
    slot_digests: dict[str, str] = Field(default={}, description="By slot: the hash of the files from which it was trained.")
    passages: int = Field(default=0, description="How many passages the index holds.")
    entries: dict[str, int] = Field(default={}, description="By id: the version of each entry that people had added.")
    learnt: dict[str, Any] = Field(default={}, description="What the app has learnt from labelled messages.")


def vertical_of(product: str, slot: str) -> str:
    """Return the name of the vertical that serves a slot of a product."""
    return f"{product}-{slot}"


@dataclass(frozen=True)
class Product:
    """An app that can reply; many threads may use it at the same time."""

    artifact: Artifact
    name: str
    content: Content
    app: App
    pack: Pack
    models: Models
    index: Index | None
    """What is searched: the index of the artifact, with what people have added since."""
    successors: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By customer and id of a passage that an added entry replaces: the id of the passage that is found instead."""
    additions: Additions | None = None

    @classmethod
    def open(cls, home: Home, name: str, models: Models | None = None) -> Product:
        """Open the product with this name (the one of NAME@live), alias or id.

        `models` predicts, such as an `AnswerService` that serves the verticals of the product; without it, the models are loaded into
        this process. Raises NotFound, and StorageError for a product whose files have changed.
        """
        artifact = home.get("products", name)
        artifact.check_files([FILE, *([ENTRIES] if is_present(artifact.folder, ENTRIES) else [])], subfolder=PACK)
        content = cls.content_of(artifact)
        called = str(artifact.manifest["name"])
        kind, pack = app_class(content.app), Pack(artifact.folder / PACK)
        index = Index.open(artifact.folder / INDEX) if is_present(artifact.folder, INDEX) else None  # it checks its own files
        if models is None:
            models = LoadedModels.open(home, {vertical_of(called, slot): id for slot, id in content.slots.items()})
        app = kind.of_pack(pack, content.learnt)
        additions = Additions(index, pack, kept_entries(artifact))
        return cls(artifact, called, content, app, pack, models=models, index=index, additions=additions).with_entries([])

    @staticmethod
    def content_of(artifact: Artifact) -> Content:
        """Return what product.json of a product holds."""
        return build(Content, read_json(regular_file(artifact.folder, FILE)), str(artifact.folder / FILE))

    @property
    def title(self) -> dict[str, str]:
        """What the product is called, by language."""
        return dict(self.pack.config.title)

    @property
    def languages(self) -> list[str]:
        """The languages in which it answers; the first one is the default."""
        return list(self.pack.config.languages)

    @property
    def verticals(self) -> dict[str, str]:
        """By slot, the name of the vertical that predicts."""
        return {slot: vertical_of(self.name, slot) for slot in self.content.slots}

    def stale(self, home: Home) -> dict[str, str]:
        """Return, by slot, the live model of each vertical that is another one than that with which the thresholds were learnt."""
        live = {slot: home.aliases().get(f"{vertical}@live") for slot, vertical in self.verticals.items()}
        return {slot: id for slot, id in live.items() if id is not None and id != self.content.slots[slot]}

    def asking(self, customer: str | None = None, at: float | None = None, deadline: float = 30.0) -> Asking:
        """Return what one message may ask for."""
        moment = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat(timespec="seconds")
        searched = Searched(self.index, self.successors)
        return Asking(type(self.app), self.models, self.verticals, searched, customer, at=moment, deadline=deadline)

    def reply(
        self, request: Request, state: Mapping[str, Any] | None = None, ask: Ask | None = None, customer: str | None = None
    ) -> tuple[Reply, dict[str, Any]]:
        """Return the reply to a request, and the new state of the conversation as JSON; `state` is the one after the turn before.

        Blocks until the models have answered. `customer` is the customer of the server, who finds no passages of others. Raises DataError
        for a message that is too long, Busy if the queue of the models is full.
        """
        if len(request.text) > LONGEST:
            raise DataError(f"The message has {len(request.text):,} characters; expected at most {LONGEST:,}. Send a shorter one.")
        now = self._state(state)
        reply = self.app.answer(request, now, ask or self.asking(customer, request.at or None))
        return reply, now.model_dump(mode="json")

    def greeting(self, language: str | None = None, at: float = 0.0, known: Mapping[str, Any] | None = None) -> Reply | None:
        """Return what the app says before the first message; None for nothing."""
        return self.app.greet(Request("", language, at=at, known=known or {}))

    def summary(self, conversation: Sequence[Said], state: Mapping[str, Any] | None = None) -> str:
        """Return what a conversation is about, for the person who takes it over."""
        return self.app.summarise(conversation, self._state(state))

    def with_entries(self, entries: Sequence[Entry]) -> Product:
        """Return this product, which from now on also finds what people have added: the current version of each entry of its app.

        Entries that were withdrawn are found no longer, also those with which the product was made. Only what is new is read; nothing of
        the artifact changes. This product finds what it found before. Raises Busy if the model that embeds is not served at the moment.
        """
        additions = self.additions or Additions(self.index, self.pack)
        vertical = self.verticals.get(type(self.app).vectors)
        searched = additions.bring(entries, lambda passages: vectors_of(self.models, vertical, passages))
        return replace(self, index=searched.index, successors=searched.successors, additions=additions)

    def _state(self, written: Mapping[str, Any] | None) -> Any:
        try:
            return self.app.state.model_validate(written or {})
        except ValidationError as error:
            raise StorageError(
                f"The state of the conversation does not fit the app '{self.content.app}': {error.errors()[0]['msg']}. "
                "Start a new conversation."
            ) from error


def kept_entries(artifact: Artifact) -> list[Entry]:
    """Return the entries with which a product was made; none for one of an older version."""
    if not is_present(artifact.folder, ENTRIES):
        return []
    return [Entry(**one) for one in read_json(regular_file(artifact.folder, ENTRIES))]


def keep_entries(folder: Path, entries: Sequence[Entry]) -> None:
    """Write the entries with which a product is made into its folder, without the hashes of the messages from which they come."""
    write_json(folder / ENTRIES, [{**asdict(one), "fingerprint": None} for one in entries if one.answer is not None])


def app_class(name: str) -> type[App]:
    """Return the class of an app; raise UnknownName if there is none with this name."""
    kind = part.find(App.folder, name)
    if not issubclass(kind, App):
        raise ConfigError(f"'{name}' is a {kind.__name__} and no app. Choose one of: {', '.join(part.names(App.folder))}.")
    return kind
