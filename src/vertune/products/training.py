"""Makes a product of a pack: trains the model of each slot, builds the index, and lets the app learn from labelled messages.

What an interrupted training has finished is used again: models with the same config on the same data, and the index of a run with the
same pack and models.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vertune import __version__
from vertune.core import config as configs
from vertune.core.app import App, Labelled
from vertune.core.artifact import Artifact, Home, Progress, Recorder, owner_entries, recording
from vertune.core.config import Config, is_same
from vertune.core.errors import ConfigError, DataError
from vertune.core.files import read_json, storage_errors, write_json
from vertune.core.kinds import Task
from vertune.core.pack import Pack, files_digest, files_of
from vertune.data.dataset import find, of_model
from vertune.products import precision
from vertune.products.additions import Searched, added_passages, merged
from vertune.products.asking import Asking, LoadedModels
from vertune.products.passages import INDEX, intent_passages, learnt_from_faq, pack_passages, vectors_of
from vertune.products.product import FILE, PACK, Content, Product, app_class, keep_entries, kept_entries, vertical_of
from vertune.retrieval.index import Index
from vertune.retrieval.passages import Passage
from vertune.steps import train as training
from vertune.steps.evaluate import evaluate
from vertune.steps.fit import measured_on, prepared
from vertune.store.entries import Entry

STEP = "app"
CALIBRATION = "calibration.json"
"""The file of a product with the labelled messages from which it learnt, by which baselines choose their thresholds too."""
_TRAINED_ROWS = 5_000
"""Most training rows that are handed to an app that learns."""
_CALIBRATION = ("text", "intent", "entry")
_MESSAGE_TOKENS = 128
"""Tokens of a message that models read, if the config of a slot says nothing else."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What `train` made."""

    product: Artifact
    models: dict[str, str]
    """By slot, the id of the model."""
    reused: tuple[str, ...]
    """The slots whose models existed already."""
    learnt: dict[str, Any]
    passages: int


def train(pack: Pack, name: str, home: Home, progress: Progress | None = None, entries: Sequence[Entry] = ()) -> Trained:
    """Make the product `name` of a pack, and return it; no alias is moved. Call it again after an interruption.

    `entries` are what people have added to it in use; they become part of it, as do those of the live product that are in no newer version
    among them. Raises ConfigError for a pack that does not fit its app, DataError for labelled messages that can't be used.
    """
    kind = app_class(pack.config.app)
    kind.of_pack(pack)  # both first, because training takes minutes
    pack.sources()
    missing = sorted(set(kind.needs) - kind.optional - set(pack.config.slots))
    if missing:
        raise ConfigError(
            f"The pack '{pack.folder.name}' has no config for the slot '{missing[0]}', which '{pack.config.app}' needs; expected "
            f"slots: {{{missing[0]}: {missing[0]}/run.yaml}}. Add it to pack.yaml."
        )
    slots = {
        slot: _Slot(slot, slot_config(pack, kind, slot, name), files_digest(pack.path(file).parent))
        for slot, file in pack.config.slots.items()
    }
    models, reused = {}, []
    for slot, wanted in slots.items():
        models[slot], again = _model(home, name, wanted, progress)
        reused += [slot] if again else []
    added = _entries(home, name, entries)
    content = Content(
        app=pack.config.app, pack=pack.folder.name, digest=pack.digest(), slots=models,
        slot_digests={slot: one.digest for slot, one in slots.items()}, entries={one.id: one.version for one in added},
    )  # fmt: skip
    teacher = _teacher(kind, content, home)
    known = precision.Known(_calibration(pack, teacher, home), _trained(teacher, home))
    precision.prepare(kind, models, known, home, progress)  # before anything is learnt from what the models say: 8 bits change it
    run = _run(home, name, content)
    with recording(home, run, progress) as recorder:
        product, content = _assembled(_Assembly(home, run, kind, pack, name, entries=added, known=known), content, recorder)
    return Trained(product, models, tuple(reused), content.learnt, content.passages)


def slot_config(pack: Pack, kind: type[App], slot: str, name: str) -> Config:
    """Return the config by which the model of a slot is trained; its name is that of the vertical.

    Raises ConfigError if the task is another one than the app needs.
    """
    file = pack.path(pack.config.slots[slot])
    settings = [f"name={vertical_of(name, slot)}"]
    if slot == kind.learns_from and pack.config.calibration is None:
        settings.append("training.refit=never")  # thresholds are learnt on the validation rows, which must be new to the model
    config = configs.load(file, settings)
    if file.parent == pack.folder:
        raise ConfigError(
            f"The slot '{slot}' has its config beside {file.parent.name}/pack.yaml; expected a folder of its own, so that other changes of "
            f"the pack train no model again. Move it, with its data, to {slot}/{file.name}."
        )
    if config.task.name != kind.needs[slot]:
        raise ConfigError(
            f"{file} trains the task '{config.task.name}', but the slot '{slot}' of '{pack.config.app}' needs '{kind.needs[slot]}'. "
            f"Write task: {kind.needs[slot]}."
        )
    return _reading_messages(config)


def _reading_messages(config: Config) -> Config:
    """Return the config of a slot with a common length of messages, if its model reads a single text and the config sets no length.

    Customers write longer messages than those of training, of which `auto` would cut off what is beyond the longest of these. And if all
    models read the same tokens of a message, one pass through their backbone answers all of them.
    """
    if sum(column.required for column in config.task.input_columns) != 1:
        return config
    return config.model_copy(update={"encoder": config.encoder.reading(_MESSAGE_TOKENS)})


@dataclass(frozen=True, slots=True)
class _Slot:
    """A slot whose model is wanted."""

    name: str
    config: Config
    digest: str
    """The hash of the files from which it is trained."""


def _model(home: Home, name: str, slot: _Slot, progress: Progress | None) -> tuple[str, bool]:
    """Return the id of the model of a slot, and whether it existed: the live one while the data of the slot are the same, else a new one.

    The live model may have been trained again on what it learnt in use, so it is preferred to the one that the pack alone makes.
    """
    vertical = vertical_of(name, slot.name)
    live = home.aliases().get(f"{vertical}@live")
    before = _live_content(home, name)
    if live is not None and before is not None and before.slot_digests.get(slot.name) == slot.digest and home.find("models", live):
        return live, True
    if progress is not None:
        progress("slot", slot=slot.name, vertical=vertical)
    dataset = prepared(slot.config, home, progress)
    for model in reversed(home.shelf("models")):
        manifest = model.manifest_or_empty
        if dataset.id in model.parents and is_same(manifest.get("asked"), slot.config):
            return model.id, True
    unfinished = any(
        run.manifest_or_empty.get("step") == "train"
        and dataset.id in run.parents
        and is_same(run.manifest_or_empty.get("asked"), slot.config)
        for run in home.runs()
    )
    model = training.train(slot.config, dataset, home, progress, resume=unfinished)
    evaluate(model, home, measured_on(dataset), progress)
    return model.id, False


def _live(home: Home, name: str) -> Artifact | None:
    id = home.aliases("products").get(f"{name}@live")
    return home.find("products", id) if id else None


def _live_content(home: Home, name: str) -> Content | None:
    """Return what the live product holds; None if there is none."""
    artifact = _live(home, name)
    return Product.content_of(artifact) if artifact else None


def _entries(home: Home, name: str, newer: Sequence[Entry]) -> list[Entry]:
    """Return the entries that a new product gets: those of the live one, in their newest versions, and further ones."""
    artifact = _live(home, name)
    return [one for one in merged(kept_entries(artifact) if artifact else [], newer) if one.answer is not None]


def _run(home: Home, name: str, content: Content) -> Artifact:
    """Return an unfinished product of the same pack and models, or begin a new one."""
    asked = content.model_dump(mode="json", exclude={"learnt", "passages"})
    for run in reversed(home.runs()):
        manifest = run.manifest_or_empty
        if manifest.get("step") == STEP and manifest.get("name") == name and manifest.get("asked") == asked and not run.in_use:
            with home.locked():
                run.update(error=None, **owner_entries())
            return run
    entries = {"step": STEP, "asked": asked, "parents": list(content.slots.values()), "versions": {"vertune": __version__}}
    return home.begin("products", name, **entries)


@dataclass(frozen=True)
class _Assembly:
    """What a product is made of."""

    home: Home
    run: Artifact
    kind: type[App]
    pack: Pack
    name: str
    entries: Sequence[Entry]
    """What people have added, without what was withdrawn."""
    known: precision.Known

    def models(self, content: Content) -> LoadedModels:
        return LoadedModels.open(self.home, {vertical_of(self.name, slot): id for slot, id in content.slots.items()})


def _assembled(made: _Assembly, content: Content, recorder: Recorder) -> tuple[Artifact, Content]:
    """Copy the pack, build the index, let the app learn, and finish the product."""
    folder, pack = made.run.folder, made.pack
    _copy_pack(pack, folder / PACK)
    models = made.models(content)
    verticals = {slot: vertical_of(made.name, slot) for slot in content.slots}
    messages, trained = made.known.new, made.known.trained
    intents = list(intent_passages(pack, trained))
    passages = [*pack_passages(pack), *intents, *added_passages(made.entries, pack)]
    keep_entries(folder, made.entries)
    embed = vectors_of(models, verticals.get(made.kind.vectors), passages)
    index = _index(folder / INDEX, passages, embed, recorder) if passages else None
    app = made.kind.of_pack(pack)
    write_json(folder / CALIBRATION, [asdict(one) for one in messages])
    held, rest = learnt_from_faq(pack, _trained_texts(made, content))
    rest += intents
    learnt: dict[str, Any] = {}
    if messages or held:
        recorder("learning", messages=len(messages) + len(held))
        without = folder / "held-out"  # an index in which the questions from which the app learns are missing
        shutil.rmtree(without, ignore_errors=True)
        trial = Index.build(without, rest, vectors_of(models, verticals.get(made.kind.vectors), rest)) if held else index
        learnt = app.learn([*messages, *held], Asking(made.kind, models, verticals, Searched(trial)), trained)
        shutil.rmtree(without, ignore_errors=True)
    content = content.model_copy(update={"learnt": learnt, "passages": len(passages)})
    write_json(folder / FILE, content.model_dump(mode="json"))
    made.kind.of_pack(pack, learnt)  # what was learnt can be read again
    return made.home.finish(made.run, app=content.app, pack=content.pack, slots=content.slots, passages=content.passages), content


def _trained_texts(made: _Assembly, content: Content) -> set[str]:
    """Return the texts on which the models were trained that search uses, because they fit each other better than new messages do."""
    found: set[str] = set()
    for id in (id for slot, id in content.slots.items() if slot != made.kind.learns_from):
        model = made.home.find("models", id)
        dataset = of_model(model.manifest, made.home) if model is not None else None
        if model is None or dataset is None:
            continue
        inputs = [column.name for column in Task.model_validate(model.manifest["config"]["task"]).input_columns]
        frames = [frame for split in ("train", "validation") if (frame := find(dataset, split)) is not None]
        found |= {str(text) for frame in frames for name in inputs if name in frame.columns for text in frame[name].drop_nulls().to_list()}
    return found


def _index(folder: Path, passages: Sequence[Passage], embed: Callable[[Sequence[str]], NDArray[Any]] | None, recorder: Recorder) -> Index:
    """Build the index, or open the one that an interrupted run has finished."""
    if folder.exists():
        return Index.open(folder)
    return Index.build(folder, passages, embed, lambda done: recorder("indexing", step=done, steps=len(passages)))


def _copy_pack(pack: Pack, folder: Path) -> None:
    """Copy what is needed to reply: not the data of slots, of which models are made, and not the documents, which the index holds."""
    left = [*pack.sources(), *(pack.path(file).parent for file in pack.config.slots.values())]  # see `slot_config`
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        for file in files_of(pack.folder):
            if any(file == one or one in file.parents for one in left):
                continue
            target = folder / file.relative_to(pack.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _calibration(pack: Pack, model: Artifact | None, home: Home) -> list[Labelled]:
    """Return the labelled messages of a pack; without any, the validation rows of the model from whose labels the app learns."""
    if pack.config.calibration is not None:
        return read_messages(pack.path(pack.config.calibration))
    return [] if model is None or model.refitted else _labelled(model, home, "validation")


def _trained(model: Artifact | None, home: Home) -> list[Labelled]:
    """Return messages on which the model was trained, evenly spaced if there are many."""
    rows = _labelled(model, home, "train") if model is not None else []
    return rows[:: max(1, len(rows) // _TRAINED_ROWS)][:_TRAINED_ROWS]


def _labelled(model: Artifact, home: Home, split: str) -> list[Labelled]:
    """Return the texts and labels of a split of a model's dataset; none if the dataset is gone."""
    dataset = of_model(model.manifest, home)
    frame = find(dataset, split) if dataset is not None else None
    if frame is None:
        return []
    task = Task.model_validate(model.manifest["config"]["task"])
    text, label = task.input_columns[0].name, task.target_columns[0].name
    return [Labelled(str(row[text]), str(row[label])) for row in frame.select(text, label).iter_rows(named=True)]


def known_messages(product: Artifact, home: Home) -> tuple[list[Labelled], list[Labelled]]:
    """Return the messages on which the intents of a product were trained, and those on which its thresholds were learnt, for baselines."""
    model = _teacher(app_class(Product.content_of(product).app), Product.content_of(product), home)
    return _trained(model, home), read_kept(product.folder / CALIBRATION)


def _teacher(kind: type[App], content: Content, home: Home) -> Artifact | None:
    """Return the model from whose labels the app learns; None if it learns from none, or the model is gone."""
    id = content.slots.get(kind.learns_from)
    return home.find("models", id) if id else None


def read_kept(file: Path) -> list[Labelled]:
    """Return the labelled messages that a product keeps."""
    return [Labelled(**one) for one in read_json(file)] if file.exists() else []


def read_messages(file: Path) -> list[Labelled]:
    """Return the labelled messages of a CSV file with the columns text, intent and, optionally, entry.

    An empty intent without an entry is a message that belongs to none. Raises DataError for other columns and for empty texts.
    """
    import polars as pl

    frame = pl.read_csv(file, infer_schema=False, glob=False)
    if not {"text", "intent"} <= set(frame.columns) or set(frame.columns) - set(_CALIBRATION):
        raise DataError(f"{file} has the columns {', '.join(frame.columns)}; expected {', '.join(_CALIBRATION)}. Rename them.")
    found = []
    for number, row in enumerate(frame.iter_rows(named=True), 2):
        if not (row["text"] or "").strip():
            raise DataError(f"Line {number} of {file} has no text; expected a message. Remove the line.")
        found.append(Labelled(row["text"], row["intent"] or None, row.get("entry") or None))
    return found
