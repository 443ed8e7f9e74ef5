"""Models that read a message share a backbone in one precision, so that one pass answers all that is asked of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from vertune.answering.service import AnswerOptions, AnswerService
from vertune.apps.customer_service import CustomerService
from vertune.core.app import Labelled
from vertune.core.artifact import Home
from vertune.core.pack import Pack
from vertune.products.asking import LoadedModels
from vertune.products.live import go_live
from vertune.products.precision import Known, prepare
from vertune.products.training import read_messages, train
from vertune.runtime import shared_store
from vertune.runtime.backbone import Backbone
from vertune.runtime.shared_store import PrecisionVerdict, SharedEngine
from vertune.testing.tiny_pack import tiny_pack

LONG = " ".join("x" * 60)
PAIRS = [
    (f"{form} the {what}", f"where is my {what}")
    for form in ("what of", "now", "tell me of", "again")
    for what in ("parcel", "return", "invoice")
]


def two_slots(folder: Path, base: Path) -> Pack:
    """Write the small pack with a model that embeds."""
    tiny_pack(folder, base)
    (folder / "search").mkdir()
    rows = [json.dumps({"text": text, "text_pair": other}) for text, other in PAIRS]
    (folder / "search" / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    run = {
        "name": "search", "base": str(base), "task": "embed", "method": {"name": "lora", "rank": 2}, "training": {"epochs": 1},
        "compress": {"tolerance": 1}, "data": {"source": "rows.jsonl", "fields": {"text": "text", "text_pair": "text_pair"}},
    }  # fmt: skip
    (folder / "search" / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    config = yaml.safe_load((folder / "pack.yaml").read_text(encoding="utf-8"))
    config["slots"]["search"] = "search/run.yaml"
    (folder / "pack.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return Pack(folder)


@pytest.fixture(scope="module")
def made(tiny_base, tmp_path_factory):
    """A home with a live product, its models by slot, and its labelled messages; no test changes them."""
    folder = tmp_path_factory.mktemp("precision")
    home = Home(folder / "home")
    trained = train(two_slots(folder / "pack", tiny_base), "shop", home)
    go_live(trained.product, home, None)
    return home, trained.models, read_messages(folder / "pack" / "calibration.csv")


def verdicts(home: Home, models: dict[str, str]) -> dict[str, PrecisionVerdict]:
    (backbone,) = home.shelf("backbones")
    found = {slot: shared_store.read_verdict(backbone, id) for slot, id in models.items()}
    return {slot: one for slot, one in found.items() if one is not None}


def known(messages: list[Labelled]) -> Known:
    inside = {one.intent: one for one in messages if one.intent}
    return Known(messages, list(inside.values()))


def test_a_product_is_trained_with_its_models_as_they_are_served(made):
    home, models, _ = made
    found = verdicts(home, models)
    assert {slot: one.precision for slot, one in found.items()} == {"intents": "int8", "search": "int8"}
    assert all("on the labelled messages of the product, and thresholds are learnt on what it says" in one.why for one in found.values())
    loaded = LoadedModels.open(home, {f"shop-{slot}": id for slot, id in models.items()})
    engines = [one.predictor.engine for one in loaded.predictors.values()]
    assert all(isinstance(one, SharedEngine) and one.backbone.precision == "int8" for one in engines)
    assert len({id(one.backbone) for one in engines}) == 1


def test_one_pass_answers_both_slots_of_a_message_that_is_longer_than_those_of_training(made, monkeypatch):
    batches: list[int] = []
    compute = Backbone.compute

    def counted(self, payloads):
        batches.append(len(payloads))
        return compute(self, payloads)

    with AnswerService.open(made[0], ["shop-intents", "shop-search"], AnswerOptions(threads=1)) as service:
        monkeypatch.setattr(Backbone, "compute", counted)
        found = service.ask_together({"shop-intents": [LONG], "shop-search": [LONG]})
    assert batches == [1]
    assert not any(answers[0]["truncated"] for answers in found.values())


def test_a_slot_that_8_bits_spoil_puts_both_in_float32(home, made, monkeypatch):
    _, models, messages = made
    model = home.get("models", models["intents"])
    config = model.manifest["config"]
    model.update(config={**config, "compress": {**config["compress"], "tolerance": 0.0}})
    shutil.rmtree(home.folder / "backbones")
    opened = shared_store.attach_model

    def spoilt(backbone, artifact, model, *more):
        made = opened(backbone, artifact, model, *more)
        if backbone.precision == "int8" and model.id == models["intents"]:
            made.engine.place.head = {key: -value for key, value in made.engine.place.head.items()}
        return made

    monkeypatch.setattr(shared_store, "attach_model", spoilt)
    prepare(CustomerService, models, known(messages), home)
    found = verdicts(home, models)
    assert {slot: one.precision for slot, one in found.items()} == {"intents": "float32", "search": "float32"}
    assert "loses" in found["intents"].why
    assert found["search"].why == "one pass answers 'search' and 'intents', which is served in float32"


def test_with_few_messages_each_model_keeps_what_its_own_rows_say_or_both_are_in_float32(home, made):
    _, models, messages = made
    prepare(CustomerService, models, known(messages[:30]), home)
    assert {one.precision for one in verdicts(home, models).values()} == {"int8"}
    (backbone,) = home.shelf("backbones")
    model = home.get("models", models["search"])
    folder = backbone.folder / shared_store.VERTICALS / model.id
    shared_store.write_verdict(folder, PrecisionVerdict("float32", "it loses too much"), model)
    prepare(CustomerService, models, known(messages[:30]), home)
    assert {slot: (one.precision, "one pass" in one.why) for slot, one in verdicts(home, models).items()} == {
        "intents": ("float32", True), "search": ("float32", False),
    }  # fmt: skip
