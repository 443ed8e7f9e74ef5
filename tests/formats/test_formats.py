"""What people label survives each format, whatever texts contain; and each form is the one that its software documents."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core import part
from vertune.core.errors import ConfigError, DataError
from vertune.core.format import Labelled
from vertune.core.kinds import Format, Task
from vertune.core.parse import build
from vertune.testing.formats import expected, read_again

NAMES = part.names("formats")
PIECES = [
    "Ada", "李", "娜", "🎉", "é", "e\u0301", '"', "'", ",", ";", "\t", "\n", "\r\n", "\u2028", "\u3000", " ", "  ", "=", "#", "-DOCSTART-",
    "{", "]", "\\", "null", "0", "’", "👨‍👩‍👧", "ا", "\x85", "O", "B-PER", "# text = x",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join).filter(lambda text: text.strip() == text != "")
labels = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join).filter(lambda text: text.strip() == text != "")


EXACT = {"csv": {"formulas": "keep"}}
"""Options with which a format changes no text."""


def form_of(name, **options):
    return build(Format, {"name": name, **options})


def task_of(name, **options):
    return build(Task, {"name": name, **options})


def again(name, task, rows):
    with tempfile.TemporaryDirectory() as folder:
        return read_again(form_of(name, **EXACT.get(name, {})), task, rows, Path(folder))


def written(name, task, rows):
    return b"".join(form_of(name).write(task, rows)).decode()


@st.composite
def marked(draw, apart=False):
    """A text with spans that do not overlap, in their order; `apart` keeps white space out of their ends."""
    text = draw(texts)
    ends = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [
        {"start": a, "end": b, "label": draw(st.sampled_from(["PER", "job title", "地点", "B-x"]))}
        for a, b in zip(ends[::2], ends[1::2], strict=False)
    ]
    return text, [span for span in spans if not apart or (piece := text[span["start"] : span["end"]]) == piece.strip()]


def numbered(pairs, field="label"):
    return [Labelled({"text": text}, {field: value}, number) for number, (text, value) in enumerate(pairs)]


def of(target):
    """The formats that can express a type of target."""
    return [name for name in NAMES if target in form_of(name).targets]


@pytest.mark.parametrize("name", of("label"))
@given(rows=st.lists(st.tuples(texts, labels), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_labels_survive(name, rows):
    made = numbered(rows)
    assert again(name, task_of("classify"), made) == expected(made)


@pytest.mark.parametrize("name", of("labels"))
@given(rows=st.lists(st.tuples(texts, st.lists(labels, unique=True, max_size=4)), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_sets_of_labels_survive(name, rows):
    made = numbered(rows, "labels")
    found = again(name, task_of("multilabel"), made)
    assert [{**row, "labels": sorted(row["labels"])} for row in found] == [
        {**row, "labels": sorted(row["labels"])} for row in expected(made)
    ]


@pytest.mark.parametrize("name", of("spans"))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_spans_survive(name, data):
    rows = data.draw(st.lists(marked(apart=name == "conll"), min_size=1, max_size=5))
    if name in {"doccano", "argilla"} and not any(spans for _, spans in rows):
        rows.append(("Ada", [{"start": 0, "end": 3, "label": "PER"}]))  # a file without any span does not show what its labels are
    made = numbered(rows, "spans")
    task = task_of("tag", offsets="code_points")  # a few random spans may fit words better if they are counted in bytes
    assert again(name, task, made) == expected(made)


@pytest.mark.parametrize("name", of("number"))
@given(rows=st.lists(st.tuples(texts, st.floats(-1e9, 1e9).map(lambda number: round(number, 6))), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_numbers_survive(name, rows):
    made = numbered(rows, "score")
    assert again(name, task_of("regress"), made) == expected(made)


@pytest.mark.parametrize("name", of("label"))
@given(rows=st.lists(st.tuples(texts, texts, labels), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_pairs_of_texts_survive(name, rows):
    form = form_of(name)
    made = [Labelled({"text": one, "text_pair": other}, {"label": label}, number) for number, (one, other, label) in enumerate(rows)]
    if form.refusal(task_of("match")) is None:
        assert again(name, task_of("match"), made) == expected(made)
    else:
        assert form.single_text


@pytest.mark.parametrize("name", of("answers"))
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_answers_survive(name, data):
    made = []
    for number in range(data.draw(st.integers(1, 4))):
        context, spans = data.draw(marked(apart=True))
        answers = [{"start": span["start"], "text": context[span["start"] : span["end"]]} for span in spans]
        made.append(Labelled({"question": data.draw(texts), "context": context}, {"answers": answers}, number))
    found = again(name, task_of("extract"), made)
    assert [row["context"] for row in found] == [row.record["context"] for row in made]
    assert [row["answers"] for row in found] == [row.target["answers"] for row in made]


ADA = Labelled(
    {"text": "🎉 Ada in Oslo"}, {"spans": [{"start": 2, "end": 5, "label": "PER"}]}, 7, "ada", "2030-01-31T12:00:00+00:00", 2.5, True
)
CARD = Labelled({"text": "my card"}, {"label": "card"}, 3, "ada", None, 1.25)


def test_label_studio_counts_utf16_units_and_knows_who_decided():
    task, (value,) = task_of("tag"), json.loads(written("label_studio", task_of("tag"), [ADA]))
    (annotation,) = value["annotations"]
    assert value["data"] == {"text": "🎉 Ada in Oslo", "labelled_record": 7}
    assert (annotation["lead_time"], annotation["ground_truth"], annotation["created_username"]) == (2.5, True, "ada")
    (result,) = annotation["result"]
    assert (result["type"], result["from_name"], result["to_name"]) == ("labels", "spans", "text")
    assert result["value"] == {"start": 3, "end": 6, "text": "Ada", "labels": ["PER"]}
    assert again("label_studio", task, [ADA]) == expected([ADA])


def test_label_studio_gathers_the_annotations_of_a_record():
    other = Labelled(CARD.record, {"label": "rate"}, 3, "bob")
    values = json.loads(written("label_studio", task_of("classify"), [CARD, other, Labelled(CARD.record, CARD.target, 4)]))
    assert [len(value["annotations"]) for value in values] == [2, 1]
    assert [one["result"][0]["value"]["choices"] for one in values[0]["annotations"]] == [["card"], ["rate"]]
    assert len({result["id"] for value in values for one in value["annotations"] for result in one["result"]}) == 3


def test_doccano_has_lists_of_offsets_or_of_labels():
    line = json.loads(written("doccano", task_of("tag"), [ADA]))
    assert (line["text"], line["label"], line["labelled_by"]) == ("🎉 Ada in Oslo", [[2, 5, "PER"]], "ada")
    assert json.loads(written("doccano", task_of("classify"), [CARD]))["label"] == ["card"]


def test_prodigy_has_options_and_accepted_ones():
    line = json.loads(written("prodigy", task_of("classify", labels=["card", "rate"]), [CARD]))
    assert line["options"] == [{"id": "card", "text": "card"}, {"id": "rate", "text": "rate"}]
    assert (line["accept"], line["answer"], line["_annotator_id"], line["meta"]["labelled_seconds"]) == (["card"], "accept", "ada", 1.25)
    spans = json.loads(written("prodigy", task_of("tag"), [ADA]))
    assert (spans["spans"], spans["_timestamp"]) == ([{"start": 2, "end": 5, "label": "PER"}], 1896091200)


def test_argilla_has_fields_and_responses():
    (record,) = json.loads(written("argilla", task_of("classify"), [CARD]))
    assert (record["fields"], record["id"], record["status"]) == ({"text": "my card"}, "3:ada", "completed")
    (response,) = record["responses"]["label"]
    assert response["value"] == "card"
    assert len(response["user_id"]) == 36
    assert record["metadata"] == {"labelled_record": 3, "labelled_by": "ada", "labelled_seconds": 1.25}


def test_spacy_has_pairs():
    assert json.loads(written("spacy", task_of("tag"), [ADA])) == [["🎉 Ada in Oslo", {"entities": [[2, 5, "PER"]]}]]
    pairs = json.loads(written("spacy", task_of("classify", labels=["rate", "card"]), [CARD]))
    assert pairs == [["my card", {"cats": {"rate": 0.0, "card": 1.0}}]]


def test_conll_states_the_text_only_where_tokens_do_not_show_it():
    row = Labelled({"text": "Ada Lovelace wrote"}, {"spans": [{"start": 0, "end": 12, "label": "PER"}]})
    assert written("conll", task_of("tag"), [row]) == "Ada\tB-PER\nLovelace\tI-PER\nwrote\tO\n\n"
    close = Labelled({"text": "It's Ada."}, {"spans": [{"start": 5, "end": 8, "label": "PER"}]})
    assert written("conll", task_of("tag"), [close]).split("\n")[:4] == ["# text = It's Ada.", "It\tO", "'\tO", "s\tO"]
    line = Labelled({"text": "Ada\nin"}, {"spans": []})
    assert written("conll", task_of("tag"), [line]).startswith('# text = "Ada\\nin"\nAda\tO\n')


def test_csv_opens_in_spreadsheets():
    content = b"".join(form_of("csv").write(task_of("classify"), [CARD]))
    assert content.startswith("\ufeff".encode())
    assert content.decode("utf-8-sig").split("\n")[:2] == [
        '"text","label","labelled_record","labelled_by","labelled_seconds"',
        '"my card","card",3,"ada",1.25',
    ]


def test_csv_has_no_formulas():
    """What a stranger wrote must not run in the spreadsheet of who opens the file; spans stay where they were."""
    row = Labelled({"text": "=Ada()"}, {"spans": [{"start": 1, "end": 4, "label": "PER"}]}, 1, "@ada")
    _, line, _ = written("csv", task_of("tag"), [row]).lstrip("\ufeff").split("\n")
    assert line.startswith('"\'=Ada()"')
    assert line.endswith("'@ada\"")
    with tempfile.TemporaryDirectory() as folder:
        (again,) = read_again(form_of("csv"), task_of("tag"), [row], Path(folder))
    (span,) = again["spans"]
    assert again["text"][span["start"] : span["end"]] == "Ada"
    label = written("csv", task_of("classify"), [Labelled({"text": "-x"}, {"label": "+y"})])
    assert '"\'-x","\'+y"' in label
    kept = b"".join(form_of("csv", formulas="keep").write(task_of("classify"), [Labelled({"text": "-x"}, {"label": "+y"})])).decode()
    assert '"-x","+y"' in kept
    answer = Labelled({"question": "x", "context": "=Ada"}, {"answers": [{"start": 1, "text": "Ada"}]})
    assert '""start"": 2' in written("csv", task_of("extract"), [answer])


def test_parquet_has_types_also_without_rows():
    frame = pl.read_parquet(io.BytesIO(b"".join(form_of("parquet").write(task_of("tag"), [ADA]))))
    assert frame.schema["spans"] == pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String}))
    assert frame.row(0, named=True)["labelled_decision"] is True
    empty = pl.read_parquet(io.BytesIO(b"".join(form_of("parquet").write(task_of("regress"), []))))
    assert (empty.height, empty.schema["score"]) == (0, pl.Float64)


def test_json_lines_have_what_is_known_alone():
    assert json.loads(written("jsonl", task_of("classify"), [Labelled(CARD.record, CARD.target)])) == {"text": "my card", "label": "card"}
    assert "\u2028" not in written("jsonl", task_of("classify"), numbered([("a\u2028b", "x")]))


@pytest.mark.parametrize("name", ["conll", "spacy"])
@pytest.mark.parametrize(
    ("places", "reason"), [([(0, 3), (2, 5)], "overlap"), ([(0, 99)], "in a text of 13 characters"), ([(3, 3)], "from 3 to 3")]
)
def test_spans_that_a_format_can_not_express_are_refused(name, places, reason):
    spans = [{"start": start, "end": end, "label": "PER"} for start, end in places]
    with pytest.raises(DataError, match=reason):
        form_of(name).write(task_of("tag"), [ADA, Labelled(ADA.record, {"spans": spans}, 7)])  # before anything is yielded


@pytest.mark.parametrize(
    ("text", "spans", "reason"),
    [
        ("Ada in Oslo", [{"start": 3, "end": 6, "label": "X"}], "white space"),
        ("Ada", [{"start": 0, "end": 3, "label": "a\tb"}], "label"),
        ("Ada", [{"start": 0, "end": 3, "label": ""}], "label"),
        ("  ", [], "visible"),
    ],
)
def test_conll_refuses_what_lines_can_not_express(text, spans, reason):
    with pytest.raises(DataError, match=rf"The record 1 .*{reason}"):
        form_of("conll").write(task_of("tag"), [Labelled({"text": text}, {"spans": spans}, 1)])


def test_squad_refuses_an_answer_that_is_not_in_its_text():
    row = Labelled({"question": "Who?", "context": "Ada"}, {"answers": [{"start": 1, "text": "Ada"}]})
    with pytest.raises(DataError, match=r"A record has the answer 'Ada'"):
        form_of("squad").write(task_of("extract"), [row])


def test_a_task_that_a_format_can_not_express_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"'doccano' can't be written for the task 'match', because it expresses one text"):
        form_of("doccano").write(task_of("match"), [])
    with pytest.raises(ConfigError, match=r"'answers'"):
        form_of("argilla").write(task_of("extract"), [])
    with pytest.raises(ConfigError, match=r"no text"):
        form_of("argilla").write(task_of("classify", inputs={"age": "number"}), [])
    assert form_of("label_studio").refusal(task_of("classify", inputs={"age": "number"})) is None


def test_large_files_come_in_pieces():
    rows = numbered([("x" * 1000, "y")] * 2000)
    for name in NAMES:
        if form_of(name).refusal(task_of("classify")) is None and name != "parquet":
            assert len(list(form_of(name).write(task_of("classify"), rows))) > 3
