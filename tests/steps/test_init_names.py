"""What init guesses where the names of the columns, or how answers are marked, decide; many of them as in Chinese tables."""

import polars as pl
import pytest

from vertune.steps.init import guess_frame

PLACES = ("骨科", "儿科", "眼科", "急诊科", "口腔科")
SAID = ("护士态度很差", "等了三个小时", "厕所很脏", "收费不合理", "没有座位", "排队太久")


def said(place: int) -> str:
    """Return a sentence with commas, whose parts occur in many rows."""
    parts = [SAID[(place * step + step) % len(SAID)] for step in (1, 2, 3)]
    return f"{'，'.join(parts[: 1 + place % 3])}，{PLACES[place % 5]}{place}" + "。！"[place % 2]


def table(**columns) -> pl.DataFrame:
    return pl.DataFrame({name: [make(place) for place in range(90)] for name, make in columns.items()})


@pytest.mark.parametrize(
    ("label", "fact"), [("诉求类型", "科室"), ("反馈类别", "优先级"), ("Category", "Priority (1-5)"), ("Ticket type", "Department")]
)
def test_the_label_is_preferred_to_a_fact_about_the_row(label, fact):
    columns = {"内容": said, label: lambda place: f"l{place % 4}", fact: lambda place: 1 + place % 5}
    guess = guess_frame(table(**columns), "the data", task="classify")
    assert guess.fields == {"text": ["内容"], "label": [label]}
    assert guess_frame(table(内容=said, **{fact: columns[fact]}), "the data", task="classify").fields["label"] == [fact]


def test_each_other_label_is_named_with_the_option_that_chooses_it():
    def topic(place):
        return f"t{place % 3}"

    columns = {"Sentiment": lambda place: f"s{place % 2}", "Topic": topic, "Second topic": topic, "Customer message": said}
    assert guess_frame(table(**columns), "the data").fields["label"] == ["Sentiment"]
    found = guess_frame(table(**columns), "the data").alternatives
    assert "also possible: classify of Customer message with Topic: --label Topic" in found
    assert "also possible: classify of Customer message with Second topic: --label 'Second topic'" in found


def test_columns_that_may_be_an_answer_come_first_among_those_that_are_not_read():
    columns = {"day": lambda place: f"2026-01-{1 + place % 28:02}", "内容": said, "类型": lambda place: f"t{place % 3}"}
    unread = guess_frame(table(**columns, 科室=lambda place: PLACES[place % 5]), "the data").alternatives[-1]
    assert unread.index("科室") < unread.index("day")


@pytest.mark.parametrize("name", ["反馈内容", "说明"])
def test_the_commas_of_sentences_separate_no_labels(name):
    guess = guess_frame(table(**{name: said, "科室": lambda place: PLACES[place % 5]}), "the data")
    assert (guess.task, guess.fields) == ("classify", {"text": [name], "label": ["科室"]})


def test_answers_with_commas_belong_to_questions():
    answers = ("提交户口簿、转学申请表和学籍证明。", "请登录网站，在报名期内缴费。", "拨打热线，或在网站提交线索。")
    guess = guess_frame(table(问题=lambda place: f"请问第{place}个问题", 答案=lambda place: answers[place % 3]), "the data")
    assert (guess.task, guess.fields) == ("embed", {"text": ["问题"], "text_pair": ["答案"]})


def test_chinese_labels_in_one_cell_are_still_several():
    guess = guess_frame(
        table(内容=said, 标签=lambda place: "、".join(PLACES[(place + step) % 5] for step in range(1 + place % 3))), "the data"
    )
    assert (guess.task, guess.options["separator"]) == ("multilabel", "、")


@pytest.mark.parametrize(("yes", "no"), [("√", None), ("✓", ""), ("是", "否"), ("有", "无"), ("Yes", "No"), ("Y", "N"), ("√", "×")])
def test_columns_of_marks_are_several_labels(yes, no):
    names = ("态度", "等待", "费用")
    marks = {name: lambda place, step=step: yes if place % step == 0 else no for step, name in enumerate(names, 2)}
    guess = guess_frame(table(内容=said, **marks), "the data")
    assert (guess.task, guess.fields["labels"]) == ("multilabel", [*names])
    assert not guess.warnings
    assert guess.examples[0]["target"] == "态度, 等待, 费用"
