"""A product with a model in each optional slot: what the models say decides what is replied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import unmeasured
from vertune.apps.customer_service import CustomerService
from vertune.apps.customer_service.searching import find
from vertune.core.app import Reply, Request
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError
from vertune.core.pack import Pack
from vertune.dialogue.patterns import read
from vertune.products.product import Product
from vertune.products.training import train
from vertune.testing import tiny
from vertune.testing.tiny_pack import tiny_pack

MONDAY = datetime(2030, 1, 7, 9, tzinfo=UTC).timestamp()
COLOURS = ("red", "blue", "green", "black", "white")
ANGRY = ("boils", "fuming", "livid", "seething")
CALM = ("fine", "pleasant", "lovely", "calm")
ABOUT = ("my {} parcel", "the {} delivery", "a {} parcel today", "{} delivery for me", "again my {} parcel")
PARTS = {"box": "take a picture of the box", "week": "keep it for a week", "desk": "are kept at the desk", "month": "for a month"}
DOCUMENTS = ("If a parcel is damaged, take a picture of the box and keep it for a week.",
             "Keys that were found in the shop are kept at the desk for a month.")  # fmt: skip


def _tagged(form: str, colour: str) -> dict[str, Any]:
    text, start = form.format(colour), form.index("{}")
    return {"text": text, "spans": [{"start": start, "end": start + len(colour), "label": "colour"}]}


def _extracted(word: str, part: str) -> list[dict[str, Any]]:
    context = next(one for one in DOCUMENTS if part in one)
    answers = [{"start": context.index(part), "text": part}]
    return [{"question": form.format(word), "context": context, "answers": answers} for form in ("what of the {}", "tell me of {}", "{}")]


def _matched() -> list[dict[str, str]]:
    said = {"damaged box": DOCUMENTS[0], "found keys": DOCUMENTS[1], "gift wrapping": "Yes, gift wrapping costs 2 euros."}
    asked = [(f"{form} {about}", about) for form in ("what of", "tell me of", "now") for about in said]
    return [
        {"text": text, "text_pair": answer, "label": "yes" if right == about else "no"}
        for text, about in asked
        for right, answer in said.items()
    ]


ROWS: dict[str, tuple[str, Sequence[dict[str, Any]]]] = {
    "search": ("embed", [{"text": row["text"], "text_pair": row["text_pair"]} for row in _matched() if row["label"] == "yes"]),
    "match": ("match", _matched()),
    "extract": ("extract", [row for word, part in PARTS.items() for row in _extracted(word, part)]),
    "mood": ("classify", [
        {"text": f"{form} {word}", "label": label}
        for form in ("i am", "this is", "my blood", "today is", "so")
        for label, words in (("angry", ANGRY), ("calm", CALM)) for word in words
    ]),
    "details": ("tag", [_tagged(form, colour) for form in ABOUT for colour in COLOURS] + [{"text": "a parcel", "spans": []}] * 3),
}  # fmt: skip


def full_pack(folder: Path, base: Path) -> Pack:
    """Write the small pack with a model in each optional slot; a flow gets a slot that only the tagger can fill."""
    tiny_pack(folder, base)
    config = yaml.safe_load((folder / "pack.yaml").read_text(encoding="utf-8"))
    for slot, (task, rows) in ROWS.items():
        (folder / slot).mkdir()
        lines = [json.dumps(row) for row in rows]
        (folder / slot / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
        run = {
            "name": slot, "base": str(base), "task": task, "method": "full", "training": {"epochs": 4, "refit": "never"},
            "compress": {"tolerance": 1}, "data": {"source": "rows.jsonl", "fields": {name: name for name in rows[0]}},
        }  # fmt: skip
        (folder / slot / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
        config["slots"][slot] = f"{slot}/run.yaml"
    (folder / "pack.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    head, *lines = (folder / "calibration.csv").read_text(encoding="utf-8").splitlines()
    (folder / "calibration.csv").write_text("\n".join([head, *lines[::8]]), encoding="utf-8")  # thresholds are not what is tested here
    flows = yaml.safe_load((folder / "flows.yaml").read_text(encoding="utf-8"))
    flows["flows"][0]["slots"].append({"name": "colour", "title": {"en": "colour"}, "ask": {"en": "Which colour?"}, "required": False})
    (folder / "flows.yaml").write_text(yaml.safe_dump(flows), encoding="utf-8")
    return Pack(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slots")
    texts = [value for _, rows in ROWS.values() for row in rows for value in row.values() if isinstance(value, str)]
    words = {word.strip(".,") for text in texts for word in text.lower().split()}
    base = tiny.write("bert", folder / "base", words)
    home = Home(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        unmeasured(patch)
        trained = train(full_pack(folder / "full", base), "shop", home)
    product = Product.open(home, trained.product.id)
    # nothing learnt of search, so that whatever is found is offered
    app = CustomerService.of_pack(product.pack, {**trained.learnt, "search": {}})
    return replace(product, app=app)


@dataclass
class Chat:
    product: Product
    state: dict[str, Any] = field(default_factory=dict)

    def say(self, text: str = "", **more: Any) -> Reply:
        reply, self.state = self.product.reply(Request(text, **more), self.state)
        return reply


def test_every_slot_has_a_model(made):
    assert set(made.content.slots) == {"intents", *ROWS} == set(CustomerService.needs)


def test_details_that_no_rule_finds_are_tagged_in_the_message_before_a_button_and_in_a_flow(made):
    chat = Chat(made)
    chat.say("my green parcel")
    reply = chat.say(choice="intent:track_order")
    assert (reply.action, reply.slots) == ("ask", {"colour": "green"})
    chat = Chat(made)
    chat.say("xyzzy")
    assert chat.say(choice="intent:track_order").slots == {}
    assert chat.say("AB1234 my blue parcel").slots == {"order": "AB1234", "colour": "blue"}


def test_the_mood_hands_over_and_words_alone_would_not(made):
    text = "i am fuming"
    assert not read(text).has("angry")
    assert Chat(made).say(text, at=MONDAY).reasons == ["angry"]
    assert Chat(made).say("i am calm").action != "handoff"


def test_what_was_found_is_ranked_by_the_match(made):
    asking, know = made.asking(), made.app.knowledge
    for text in ("what of damaged box", "tell me of found keys"):
        found = find(know, text, asking)
        asked = [{"text": text, "text_pair": one.hit.answer or one.hit.text} for one in found]
        fits = [one["probabilities"]["yes"] for one in asking.predict({"match": asked})["match"]]
        assert [one.fit for one in found] == pytest.approx(sorted(fits, reverse=True))
        assert len(set(fits)) > 1


def test_a_passage_is_shown_with_what_was_extracted_also_after_a_button(made):
    asking, know = made.asking(), made.app.knowledge
    text = "tell me of found keys desk"
    document = next(one for one in find(know, text, asking) if one.entry.startswith("parcels.md"))
    part = asking.predict({"extract": [{"question": text, "context": document.hit.text}]})["extract"][0]["text"]
    assert part
    assert part == document.extract
    chat = Chat(made)
    reply = chat.say(text)
    offered = [one.value for one in reply.choices if one.value.startswith("entry:parcels.md")]
    assert reply.action == "clarify"
    shown = chat.say(choice=offered[0])
    document = next(one for one in find(know, text, asking) if f"entry:{one.entry}" == offered[0])
    assert shown.action == "answer"
    assert shown.text.split("\n\n")[1:] == [document.extract, document.hit.text]


@pytest.mark.parametrize(
    ("option", "slot"), [({"match_labels": ["relevant"]}, "match"), ({"handoff": {"angry_labels": ["furious"]}}, "mood")]
)
def test_labels_that_no_model_has_are_refused(made, tmp_path, option, slot):
    written = made.artifact.folder / "pack" / "pack.yaml"
    config = yaml.safe_load(written.read_text(encoding="utf-8"))
    (tmp_path / "pack.yaml").write_text(yaml.safe_dump({**config, **option}), encoding="utf-8")
    for name in ("answers.yaml", "faq.yaml", "flows.yaml"):
        (tmp_path / name).write_bytes((written.parent / name).read_bytes())
    with pytest.raises(ConfigError, match=f"slot '{slot}'"):
        CustomerService.of_pack(Pack(tmp_path)).learn([], made.asking())
