from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import jinja2
import pytest

from vertune import reports
from vertune.reports.scales import ems

NAMES = ("card_payment_wrong_exchange_rate", "卡片到账时间", "<b>bold</b> & co", "a")
VOID = {"meta", "br", "link", "hr", "img", "input"}


class Nesting(HTMLParser):
    """Fails on a tag that is closed in another order than it was opened."""

    def __init__(self):
        super().__init__()
        self.open, self.words = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        self.words.append(data)


def draw(call, **values):
    source = '{% extends "base.html" %}{% import "charts.html" as charts %}{% block body %}{{ charts.' + call + " }}{% endblock %}"
    return reports._environment().from_string(source).render(**values)


def pictures(page):
    """Every outermost SVG, parsed: a broken one is an error."""
    found, depth, start = [], 0, 0
    for tag in re.finditer(r"<svg|</svg>", page):
        start = tag.start() if not depth else start
        depth += 1 if tag[0] == "<svg" else -1
        if not depth:
            found.append(ElementTree.fromstring(page[start : tag.end()]))
    return found


def check(page):
    parser = Nesting()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert not re.search(r"<script|https?://|@import|url\(|<link|<img", page)
    return parser


def matrix(size):
    counts = [[7 if row == column else (row + column) % 5 == 0 for column in range(size)] for row in range(size)]
    return [f"{NAMES[place % 4]} {place}" for place in range(size)], [[int(number) for number in row] for row in counts]


@pytest.mark.parametrize("size", [2, 9, 77, 150])
def test_a_heatmap_draws_every_mistake_and_names_every_label(size):
    labels, counts = matrix(size)
    page = draw("heatmap(labels, counts, 'Confusion')", labels=labels, counts=counts)
    check(page)
    (picture,) = pictures(page)
    titles = [found.text for found in picture.iter("title")]
    cells = [title for title in titles if " of " in title]
    assert len(cells) == sum(number > 0 for row in counts for number in row)
    assert sum(title in labels for title in titles) == 2 * size
    assert cells[0].startswith(f"{labels[0]} answered correctly: 7 of")
    assert float(picture.get("width")) < 1900


@pytest.mark.parametrize("labels", [["A", "B"], ["投诉", "咨询", "表扬"], ["a_label_that_is_longer", "b"]])
def test_the_title_of_the_rows_is_not_on_the_labels_of_the_columns(labels):
    page = draw("heatmap(labels, counts, 'Confusion')", labels=labels, counts=[[1] * len(labels)] * len(labels))
    (picture,) = pictures(page)
    title = next(found.text for found in picture.iter("text") if "↓" in found.text)
    columns = float(re.search(r"translate\(([\d.]+) ", next(picture.iter("g")).get("transform"))[1])
    assert columns >= ems(title) * 12


def test_text_is_escaped():
    page = draw("table([{'title': 'x', 'kind': 'text'}], [['<script>alert(1)</script>']])")
    assert "alert(1)" in "".join(check(page).words)


def test_bars_show_value_and_interval_and_leave_out_what_is_not_known():
    rows = [
        {"name": "model", "value": 0.934, "low": 0.92, "high": 0.945, "tone": "accent", "strong": True, "note": "sure"},
        {"name": "other", "value": None, "low": None, "high": None},
        {"name": "less than nothing", "value": -0.2},
    ]
    page = draw("bars(rows, 'share')", rows=rows)
    words = " ".join(check(page).words)
    assert "93.4\u00a0%" in words
    assert "−20.0\u00a0%" in words
    assert "other" not in words
    assert len(re.findall(r"<rect", page)) == 2


@pytest.mark.parametrize(
    "call",
    [
        "differences([{'name': 'a', 'value': 0.1, 'low': -0.1, 'high': 0.3, 'tone': 'warn'}], 'share')",
        "differences([{'name': 'a', 'value': 0.0, 'low': 0.0, 'high': 0.0, 'tone': 'warn'}])",
        "histogram([{'low': 0, 'high': 4, 'count': 3}, {'low': 4, 'high': 8, 'count': 0}], 'lengths', 'tokens', 5, 'cut')",
        "lines([{'name': 'a', 'tone': 'plain', 'points': [[1, 2.0], [2, 1.0]]}, {'name': 'b', 'tone': 'bad', 'points': [[1, 1.0]]}], 'x')",
        "lines([{'name': 'loss', 'tone': 'plain', 'points': [[5, 0.5]]}], 'one point')",
        "reliability([{'confidence': 0.9, 'accuracy': 0.8, 'count': 4}], 'x')",
        "scatter([[1.0, 2.0], [3.0, 3.5]], 'x')",
        "scatter([[1.0, 1.0]], 'one')",
        "key([['good', 'right'], ['bad', 'wrong']])",
    ],
)
def test_every_picture_is_well_formed(call):
    page = draw(call)
    check(page)
    if "key" not in call:
        assert pictures(page)
    assert "nan" not in page.lower().split("<body>")[1]


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        reports.render("evaluate.html")
