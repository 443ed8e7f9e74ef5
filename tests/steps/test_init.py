"""What init guesses of files of every task, and that the config it writes is taken."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertune.core.artifact import Home
from vertune.core.config import load
from vertune.core.errors import ConfigError, DataError, NotFound, UnknownName
from vertune.core.kinds import Task
from vertune.core.records import Column
from vertune.data import chain
from vertune.data.chain import ChainInputs, ChainLog
from vertune.data.profile import profile_table
from vertune.sources import _workbook
from vertune.steps.init import guess_as_yaml, guess_frame, init, is_data, name_of
from vertune.steps.prepare import prepare

WORDS = ["the", "card", "did", "not", "arrive", "yet", "please", "help", "me", "now"]


def text(place: int) -> str:
    return " ".join(WORDS[(place * step + step) % 10] for step in range(1, 9)) + f" {place}"


def frame(**columns):
    return pl.DataFrame({name: [make(place) for place in range(60)] for name, make in columns.items()})


CASES = {
    "classify": (frame(id=str, message=text, intent=lambda place: f"intent {place % 5}"), {"text": ["message"], "label": ["intent"]}),
    "numbers as classes": (frame(text=text, label=lambda place: str(place % 2)), {"text": ["text"], "label": ["label"]}),
    "regress": (frame(text=text, price=lambda place: f"{place / 7:.3f}"), {"text": ["text"], "score": ["price"]}),
    "stars": (frame(review=text, rating=lambda place: place % 5 + 1), {"text": ["review"], "score": ["rating"]}),
    "multilabel": (frame(text=text, topics=lambda place: f"a{place % 3}|b{place % 4}"), {"text": ["text"], "labels": ["topics"]}),
    "list": (frame(text=text, topics=lambda place: ["a", f"b{place % 4}"]), {"text": ["text"], "labels": ["topics"]}),
    "match": (
        frame(sentence1=text, sentence2=lambda place: text(place + 1), entailment=lambda place: "yes" if place % 2 else "no"),
        {"text": ["sentence1"], "text_pair": ["sentence2"], "label": ["entailment"]},
    ),
    "tag": (frame(text=text, spans=lambda place: [{"start": 0, "end": 3, "label": "X"}]), {"text": ["text"], "spans": ["spans"]}),
    "extract": (
        frame(question=text, context=text, answers=lambda place: [{"start": 0, "text": "the"}]),
        {"question": ["question"], "context": ["context"], "answers": ["answers"]},
    ),
}
CASES |= {
    "a reply is not read": (
        frame(reply=text, customer_question=lambda place: text(place + 1), queue=lambda place: f"q{place % 4}"),
        {"text": ["customer_question"], "label": ["queue"]},
    ),
    "a fact beside the label": (
        frame(weight_kg=lambda place: 50 + place % 7, diagnosis=lambda place: f"d{place % 5}", says=text),
        {"text": ["says"], "label": ["diagnosis"]},
    ),
    "grades": (
        frame(
            question=lambda place: text(place % 3), desired_answer=lambda place: text(place % 3 + 1), student_answer=text,
            score_me=lambda place: place % 9 / 2, score_avg=lambda place: place % 19 / 4,
        ),
        {"text": ["desired_answer"], "text_pair": ["student_answer"], "score": ["score_avg"]},
    ),
    "questions and answers": (frame(问题=text, 答案=lambda place: text(place + 1)), {"text": ["问题"], "text_pair": ["答案"]}),
    "relevance": (
        frame(query=lambda place: text(place % 9), passage=text, relevant=lambda place: place % 2),
        {"text": ["query"], "text_pair": ["passage"], "label": ["relevant"]},
    ),
    "pandas lists": (frame(text=text, topics=lambda place: f"['a', 'b{place % 4}']"), {"text": ["text"], "labels": ["topics"]}),
    "words and lists": (
        frame(text=text, topics=lambda place: "a" if place % 2 else f'["a", "b{place % 4}"]'), {"text": ["text"], "labels": ["topics"]},
    ),
    "spans as texts": (
        frame(句子=text, 实体=lambda place: '[{"start": 0, "end": 3, "label": "X"}]'), {"text": ["句子"], "spans": ["实体"]},
    ),
    "triples": (frame(text=text, label=lambda place: '[[0, 3, "X"]]'), {"text": ["text"], "spans": ["label"]}),
    "lists of answers": (
        frame(question=text, context=text, answers=lambda place: {"text": ["the"], "answer_start": [0]}),
        {"question": ["question"], "context": ["context"], "answers": ["answers"]},
    ),
}  # fmt: skip
TASKS = {
    "numbers as classes": "classify", "stars": "regress", "list": "multilabel", "a reply is not read": "classify",
    "a fact beside the label": "classify", "grades": "regress", "questions and answers": "embed", "relevance": "match",
    "pandas lists": "multilabel", "words and lists": "multilabel", "spans as texts": "tag", "triples": "tag", "lists of answers": "extract",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_table_is_recognised(name):
    table, fields = CASES[name]
    guess = guess_frame(table, "the data")
    assert (guess.task, guess.fields) == (TASKS.get(name, name), fields)
    assert set(guess.fields) <= set(guess.reasons)


def test_an_empty_cell_is_no_label():
    guess = guess_frame(frame(text=text, label=lambda place: ["yes", "no", "", " "][place % 4]), "the data")
    assert (guess.task, guess.fields) == ("classify", {"text": ["text"], "label": ["label"]})
    assert guess.reasons["label"].startswith("2 different values: ")
    with pytest.raises(DataError, match="No column"):
        guess_frame(frame(text=text, label=lambda place: "yes" if place else ""), "the data")


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        ("a|b", "|"),
        ("a; b", ";"),
        ("a、b", "、"),
        ("a, b", ","),
        ("a b", " "),
        ("a/b", "/"),
        ("late; sent twice", None),
        ("varicose veins", None),
    ],
)
def test_a_separator_is_one_only_if_the_labels_are_combined(cell, separator):
    def labels(place):
        if separator is None:  # the parts of this name occur nowhere else
            return cell if place % 3 else "other"
        return cell.replace("a", f"a{place % 3}").replace("b", f"b{place % 2}") if place % 5 else f"{'ab'[place // 5 % 2]}{place // 10 % 2}"

    guess = guess_frame(frame(text=text, kind=labels), "the data")
    assert guess.task == ("classify" if separator is None else "multilabel")
    assert guess.options.get("separator") == separator


def test_a_column_of_flags_for_each_label_is_several_labels():
    table = frame(
        text=text, wheel=lambda place: place % 2, brake=lambda place: int(place % 3 == 0), order=lambda place: int(place % 5 == 0)
    )
    guess = guess_frame(table, "the data")
    assert (guess.task, guess.fields["labels"]) == ("multilabel", ["wheel", "brake", "order"])
    named = guess_frame(table.rename({"order": "label"}), "the data")
    assert (named.task, named.fields["label"]) == ("classify", ["label"])


def test_columns_of_numbers_and_categories_are_inputs():
    table = frame(
        colour=lambda place: f"c{place % 4}",
        size=lambda place: f"{place % 13},5",
        weight=lambda place: f"1.{place:03},25",
        label=lambda place: f"{place % 2}",
    )
    guess = guess_frame(table, "the data")
    assert guess.options == {"inputs": {"colour": "category", "size": "number", "weight": "number"}, "decimal": "comma"}
    assert (guess.task, guess.encoder, guess.fields["label"]) == ("classify", "table", ["label"])
    assert "weight: 1001.25" in guess.examples[1]["input"]


def test_a_target_with_a_decimal_comma_is_a_number():
    guess = guess_frame(frame(text=text, price=lambda place: f"{place % 9},5"), "the data")
    assert (guess.task, guess.options) == ("regress", {"decimal": "comma"})
    assert [example["target"] for example in guess.examples] == ["0.5", "1.5", "2.5"]
    assert "decimal comma" in guess.reasons["score"]


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y %H:%M", "%m/%d/%Y", "%Y年%m月%d日", "%d-%b-%Y", "%B %d, %Y"])
def test_dates_are_no_labels(form):
    days = pl.datetime_range(pl.datetime(2026, 1, 1), pl.datetime(2026, 1, 4), "1d", eager=True).dt.strftime(form)
    table = frame(text=text, kind=lambda place: f"k{place % 3}", label=lambda place: days[place * 7 % 4])
    guess = guess_frame(table, "the data")
    assert guess.fields["label"] == ["kind"]
    assert any("dates such as" in one for one in guess.alternatives)


def test_three_records_are_shown_with_different_targets():
    guess = guess_frame(frame(text=text, label=lambda place: f"l{place // 20}"), "the data")
    assert [(example["row"], example["target"]) for example in guess.examples] == [(1, "l0"), (21, "l1"), (41, "l2")]
    assert guess.examples[0]["input"] == text(0)


def test_the_page_of_the_data_shows_the_records_of_init(tmp_path):
    CASES["classify"][0].write_csv(tmp_path / "a.csv")
    guess = init(tmp_path / "a.csv")
    (tmp_path / "run.yaml").write_text(guess_as_yaml(guess, tmp_path / "a.csv", tmp_path), encoding="utf-8")
    dataset = prepare(load(tmp_path / "run.yaml"), Home(tmp_path / "home"))
    report = json.loads((dataset.folder / "report.json").read_text(encoding="utf-8"))
    assert [example["input"] for example in report["examples"]] == [example["input"] for example in guess.examples]
    assert guess.examples[2]["input"] in (dataset.folder / "report.html").read_text(encoding="utf-8")


def test_contradicting_labels_get_a_warning():
    table = frame(text=lambda place: text(place % 10), label=lambda place: f"l{place // 20}")
    guess = guess_frame(table, "the data")
    assert guess.warnings
    assert guess.warnings[0].startswith("10 of 10 different inputs have several different answers")
    assert not guess_frame(CASES["classify"][0], "the data").warnings


def test_a_weak_guess_is_called_one():
    weak = guess_frame(frame(one=text, other=lambda place: text(place + 3)), "the data")
    assert weak.task == "embed"
    assert "weak" in weak.warnings[-1]


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


CONLL = "".join(f"Ada B-PER\nLovelace I-PER\nwrote{place} O\n\n" for place in range(30))
SQUAD = json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": [{"context": "Ada wrote it.", "qas": [
    {"id": str(place), "question": f"Who {place}?", "answers": [{"text": "Ada", "answer_start": 0}]} for place in range(30)
]}]}]})  # fmt: skip
CONTENTS = {
    "tokens": (CONLL, "conll", "tag"),
    "tabs": (CONLL.replace(" ", "\t"), "conll", "tag"),
    "questions": (SQUAD, "squad", "extract"),
    "lines": ("".join(json.dumps({"text": text(place), "label": f"l{place % 3}"}) + "\n" for place in range(30)), "jsonl", "classify"),
    "array": (json.dumps([{"text": text(place), "label": f"l{place % 3}"} for place in range(30)], indent=1), "jsonl", "classify"),
    "table": ("text;label\n" + "".join(f"{text(place)};l{place % 3}\n" for place in range(30)), "csv", "classify"),
    "no header": ("".join(f"{place % 2}\t{text(place)}\n" for place in range(30)), "csv", "classify"),
}


@pytest.mark.parametrize("ending", [".txt", ".json", ".data", ""])
@pytest.mark.parametrize("name", CONTENTS)
def test_the_content_decides_how_a_file_is_read(name, ending, tmp_path):
    content, source, task = CONTENTS[name]
    path = tmp_path / f"rows{ending}"
    path.write_text(content, encoding="utf-8")
    if ending == ".json" and source == "csv":
        return  # the ending is that of another source
    guess = init(path)
    assert (guess.source["name"], guess.task) == (source, task)
    (tmp_path / "run.yaml").write_text(guess_as_yaml(guess, path, tmp_path), encoding="utf-8")
    assert load(tmp_path / "run.yaml").data.source.name == source
    assert is_data(path)


def test_a_file_without_a_header_has_numbered_columns(tmp_path):
    (tmp_path / "a.txt").write_text(CONTENTS["no header"][0], encoding="utf-8")
    guess = init(tmp_path / "a.txt")
    assert (guess.rows, guess.fields) == (30, {"text": ["column_2"], "label": ["column_1"]})
    assert "first line of a.txt seems to contain values" in guess.notes[0]
    assert "header: 0" in guess_as_yaml(guess, tmp_path / "a.txt", tmp_path)
    assert init(tmp_path / "a.txt", options={"header": True}).rows == 29


def test_a_workbook_with_a_title_and_a_further_sheet(tmp_path):
    rows = [["Export"], [], ["No.", "Message", "Queue"], *([place, text(place), f"q{place % 3}"] for place in range(30))]
    _workbook.write(tmp_path / "a.xlsx", {"About": [["made today"]], "Cases": rows})
    guess = init(tmp_path / "a.xlsx")
    assert (guess.rows, guess.fields) == (30, {"text": ["Message"], "label": ["Queue"]})
    assert (guess.source["sheet"], guess.source["header"]) == ("Cases", 3)
    assert "also has About" in guess.notes[0]
    with pytest.raises(UnknownName, match="Cases"):
        init(tmp_path / "a.xlsx", options={"sheet": "Case"})
    (tmp_path / "a.csv").write_text("text,label\na,b\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no option 'sheet'"):
        init(tmp_path / "a.csv", options={"sheet": "Cases"})


@pytest.mark.parametrize(
    "names", [("train", "dev", "test"), ("Train", "Valid", "Test"), ("x.train", "x.val", "x.test"), ("训练集", "验证集", "测试集")]
)
def test_a_folder_of_splits_and_the_files_beside(names, tmp_path):
    (tmp_path / "README.md").write_text("about", encoding="utf-8")
    for name in names:
        (tmp_path / f"{name}.txt").write_text(CONLL, encoding="utf-8")
    for path in (tmp_path, tmp_path / f"{names[0]}.txt"):
        guess = init(path)
        assert Path(guess.source["path"]).stem == names[0]
        assert [Path(guess.others[split]["path"]).stem for split in ("validation", "test")] == list(names[1:])


def test_a_folder_of_labels_or_of_several_files(tmp_path):
    for place in range(12):
        (tmp_path / "labels" / f"l{place % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "labels" / f"l{place % 3}" / f"{place}.txt").write_text(text(place), encoding="utf-8")
    assert init(tmp_path / "labels").source["name"] == "folder"
    (tmp_path / "months").mkdir()
    for month in ("january", "february"):
        CASES["classify"][0].write_csv(tmp_path / "months" / f"{month}.csv")
    assert init(tmp_path / "months").rows == 120
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains nothing"):
        init(tmp_path / "empty")


def test_a_test_file_without_labels_is_not_used(tmp_path):
    CASES["classify"][0].write_csv(tmp_path / "train.csv")
    CASES["classify"][0].drop("intent").write_csv(tmp_path / "test.csv")
    guess = init(tmp_path / "train.csv")
    assert not guess.others
    assert any("test.csv is not used for test, because it has no column 'intent'" in note for note in guess.notes)


def test_rows_that_cannot_be_read_are_counted_and_the_first_is_named(tmp_path):
    lines = CONTENTS["lines"][0].splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text("".join([*lines[:5], "{cut\n", *lines[5:], "[]\n"]), encoding="utf-8")
    assert "2 of 32 rows of" in init(tmp_path / "a.jsonl").warnings[0]
    assert "The first is row 6: line 6 is not JSON" in init(tmp_path / "a.jsonl").warnings[0]
    (tmp_path / "b.csv").write_text("text,label\n" + "a,b,c,d\n" * 7, encoding="utf-8")
    with pytest.raises(DataError, match=r"7 of 7 rows of .* can't be read. The first is row 1: has 4 fields"):
        init(tmp_path / "b.csv")


def test_a_column_that_names_splits_is_used():
    table = CASES["classify"][0].with_columns(pl.Series("part", ["train", "train", "test"] * 20))
    guess = guess_frame(table, "the data")
    assert guess.split == "part"
    assert guess.fields["label"] == ["intent"]


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_user_requests_is_taken():
    guess = guess_frame(CASES["classify"][0], "the data", ["message"], "id")
    assert {"message", "id"} == {column for columns in guess.fields.values() for column in columns}
    assert guess_frame(CASES["stars"][0], "the data", task="classify").fields == {"text": ["review"], "label": ["rating"]}
    joined = guess_frame(CASES["grades"][0], "the data", ["question", "desired_answer", "student_answer"], "score_me")
    assert joined.fields == {"text": ["question", "desired_answer", "student_answer"], "score": ["score_me"]}
    two = guess_frame(CASES["grades"][0], "the data", ["question", "student_answer"])
    assert (two.fields["text"], two.fields["text_pair"]) == (["question"], ["student_answer"])


@pytest.mark.parametrize("name", CASES)
def test_a_requested_task_reads_the_same_columns(name):
    table, fields = CASES[name]
    assert guess_frame(table, "the data", task=TASKS.get(name, name)).fields == fields


def test_a_new_task_takes_part_without_an_edit():
    class Stance(Task):
        columns = (Column("claim", "A claim."), Column("stance", "For or against.", role="target", type="label"))

    table = frame(ID=str, Claim=text, stance=lambda place: f"s{place % 2}")
    found = Stance().guess(profile_table(table))
    assert found is not None
    assert found.fields == {"claim": ["Claim"], "stance": ["stance"]}
    assert Stance().guess(profile_table(CASES["classify"][0])) is None


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (lambda place: "spam", "'label' has the name of a label, but all its values are the same: add rows with other labels."),
        (lambda place: f"word{'s' * place}", "most of its values occur only once"),
        (lambda place: None if place % 20 else f"a label of row {place}", "only 3 of 60 rows have a value"),
    ],
)
def test_it_says_why_a_column_is_no_label(label, why):
    with pytest.raises(DataError) as error:
        guess_frame(frame(text=text, label=label), "the data")
    assert why in str(error.value)
    with pytest.raises(DataError, match="2 rows can't show it: add rows"):
        guess_frame(frame(text=text, label=lambda place: f"l{place}").head(2), "the data")


def test_the_only_column_that_can_be_a_label_is_one_whatever_its_name():
    guess = guess_frame(frame(text=text, language=lambda place: "en" if place % 2 else "de"), "the data")
    assert guess.fields == {"text": ["text"], "label": ["language"]}
    assert "weak" in guess.warnings[-1]


def test_a_column_with_one_value_is_no_input():
    guess = guess_frame(frame(instruction=lambda place: "Classify this", input=text, output=lambda place: f"l{place % 3}"), "the data")
    assert guess.fields == {"text": ["input"], "label": ["output"]}


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("TRUE", "FALSE"), ("x", ""), ("1", None)])
def test_columns_of_other_flags_are_several_labels(yes, no):
    names = ("toxic", "obscene", "threat", "insult")
    flags = {name: lambda place, step=step: yes if place % step == 0 else no for step, name in enumerate(names, 2)}
    guess = guess_frame(frame(text=text, **flags), "the data")
    assert (guess.task, guess.fields["labels"]) == ("multilabel", list(flags))
    assert not guess.warnings
    assert guess.examples[0]["target"] == "toxic, obscene, threat, insult"


def test_a_label_after_columns_of_facts_is_one_label():
    facts = {name: lambda place, step=step: place % step // (step - 1) for step, name in enumerate(("weekend", "holiday", "night"), 2)}
    guess = guess_frame(frame(text=text, **facts, spam=lambda place: place % 2), "the data")
    assert (guess.task, guess.fields["label"]) == ("classify", ["spam"])


def test_other_labels_and_the_other_reading_of_grades_are_named():
    two = guess_frame(frame(text=text, topic=lambda place: f"t{place % 3}", sentiment=lambda place: f"s{place % 2}"), "the data")
    assert two.fields["label"] == ["sentiment"]
    assert "also possible: classify of text with topic: --label topic" in two.alternatives
    table = frame(age=lambda place: place % 50, job=lambda place: f"j{place % 3}", bought=lambda place: place % 2)
    assert not any("possible" in one for one in guess_frame(table, "the data").alternatives)
    assert "also possible: classify of review with rating: --task classify" in guess_frame(CASES["stars"][0], "the data").alternatives


def test_it_says_what_is_missing(tmp_path):
    with pytest.raises(NotFound, match="no file or folder"):
        init(tmp_path / "nothing.csv")
    with pytest.raises(UnknownName, match="Did you mean 'intent'"):
        guess_frame(CASES["classify"][0], "the data", label="intnt")
    with pytest.raises(DataError, match=r"No columns of the data look like .* of any task; its columns are: id \(a .*; text \(text of"):
        guess_frame(frame(id=str, text=text), "the data")
    with pytest.raises(DataError, match=r"There is only one column: if a character divides it into several"):
        guess_frame(frame(label=text), "the data")
    with pytest.raises(DataError, match="of the task 'tag'"):
        guess_frame(CASES["classify"][0], "the data", task="tag")


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["classify", "regress", "multilabel", "match", "tag", "extract", "list", "grades"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_written_is_a_config(name, form, tmp_path):
    table, fields = CASES[name]
    if form == "csv":
        if any(kind.is_nested() for kind in table.schema.values()):
            pytest.skip("a CSV has no lists")
        table.write_csv(tmp_path / "my table.csv")
    else:
        table.write_ndjson(tmp_path / "my table.jsonl")
    path = tmp_path / f"my table.{form}"
    (tmp_path / "run.yaml").write_text(guess_as_yaml(init(path), path, tmp_path), encoding="utf-8")
    config = load(tmp_path / "run.yaml")
    assert config.task.name == TASKS.get(name, name)
    assert {key: [value] for key, value in config.data.fields.items()} == fields
    assert config.data.source.path == str(path)
    assert config.name == "my-table"
    assert config.training.time_limit is None, "a limit for method auto would cut a full training short"


@pytest.mark.parametrize("name", ["*", "^.*$"])
def test_columns_may_be_called_like_patterns_of_columns(name, tmp_path):
    path = tmp_path / "pairs.parquet"
    pl.DataFrame(
        {name: [f"where is order {place}" for place in range(60)], "comment": [f"看看轮子 {place}" for place in range(60)]}
    ).write_parquet(path)
    assert sorted(name for names in init(path).fields.values() for name in names) == sorted([name, "comment"])


@pytest.mark.parametrize(
    ("texts", "base", "reason"),
    [
        (["how do I pay", "the card is lost", "what is the rate"], "minilm", "English (100 %)"),
        (["怎么付款", "信用卡丢了", "利率是多少"], "e5-zh-en", "Chinese (100 %)"),
        (["wie kann ich das nicht", "信用卡丢了", "what is the rate"], "e5", "Chinese ("),
    ],
)
def test_the_base_suits_the_language_of_the_texts(texts, base, reason, tmp_path):
    path = tmp_path / "data.csv"
    rows = [(f"{texts[place % 3]} {place}", "abc"[place % 3]) for place in range(60)]
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(path)
    (tmp_path / "run.yaml").write_text(written := guess_as_yaml(init(path), path, tmp_path), encoding="utf-8")
    assert load(tmp_path / "run.yaml").encoder.base == base
    assert reason in written


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=12) | st.sampled_from(
    [
        "yes",
        "no",
        "null",
        "2024",
        "1.5",
        "~",
        "#",
        "- a",
        "a: b",
        "a\nb",
        "'",
        '"',
        "{x}",
        "[y]",
        "&a",
        "*b",
        "!c",
        "%",
        "@",
        "标签",
        "😀",
        "\u2028",
        "label",
        "text",
    ]
)
FILES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], exclude_characters="/\\*?[]"), min_size=1, max_size=20
) | st.sampled_from(["2024", "yes", "订单1", "a b", "it's", 'a"b', "a#b", "a: b", "null", "train", "-x", "été", "ЗАКАЗ", "%41", "ａｂ"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(NAMES, min_size=3, max_size=3, unique_by=lambda name: " ".join(name.split())),
    file=FILES,
    odd=st.sampled_from(["", "x", "\u2028", "'", "#"]),
)
def test_fit_takes_whatever_is_written(names, file, odd, tmp_path):
    names = [name if not name.startswith("__") else f"a{name}" for name in names]
    if any(not name.strip() for name in names):
        names = [f"c{place}{name}" for place, name in enumerate(names)]
    path = tmp_path / f"{file}.jsonl"
    if path.name.startswith("."):
        path = tmp_path / f"x{file}.jsonl"
    rows = [dict(zip(names, (text(place) + odd, f"l{place % 3}{odd}", place / 7), strict=True)) for place in range(40)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    guess = init(path, [names[0]], names[1])
    written = guess_as_yaml(guess, path, tmp_path)
    (tmp_path / "run.yaml").write_text(written, encoding="utf-8")
    config = load(tmp_path / "run.yaml")
    assert config.data.fields == {"text": names[0], "label": names[1]}, written
    assert config.data.source.path == str(path)
    log = ChainLog(lambda kind, **fields: None)
    tables = dict(chain.read(ChainInputs.of(config), log))
    assert tables["train"].height == 40
    path.unlink()


def test_the_paths_of_splits_with_odd_names_are_read(tmp_path):
    folder = tmp_path / "a [b] #1: 'x'"
    folder.mkdir()
    for name in ("train", "test"):
        CASES["classify"][0].write_csv(folder / f"{name}.csv")
    (folder / "run.yaml").write_text(guess_as_yaml(init(folder / "train.csv"), folder / "train.csv", folder), encoding="utf-8")
    config = load(folder / "run.yaml")
    assert config.data.test.path == str(folder / "test.csv")
    assert yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))["name"] == config.name == "a-b-1-x"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/Tickets 2024.csv", "tickets-2024"),
        ("bank/train.csv", "bank"),
        ("标.csv", "标"),
        ("订单1.csv", "订单1"),
        ("🎉.csv", "vertical"),
        ("数据集/数据.csv", "数据集"),
    ],
)
def test_name(path, name, tmp_path):
    assert name_of(tmp_path / path) == name
