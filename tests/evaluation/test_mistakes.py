"""Wrong answers lead back to the rows that they came from, and a spreadsheet runs none of them."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from vertune.evaluation.mistakes import as_csv, locate

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"))


@given(st.lists(st.tuples(TEXT, TEXT, st.floats(0, 1)), max_size=5))
def test_every_wrong_answer_is_one_row(found):
    records = [{"text": text, "__file": "a.csv", "__row": place + 1} for place, (text, _, _) in enumerate(found)]
    errors = [
        {"row": place, "text": text, "expected": label, "answered": ["a", "b"], "probability": share}
        for place, (text, label, share) in reversed(list(enumerate(found)))
    ]
    rows = list(csv.reader(io.StringIO(as_csv(locate(errors, records)), newline="")))
    assert len(rows) == len(errors) + 1
    for row, error in zip(rows[1:], errors, strict=True):
        file, number, text, label, answered, share = row
        assert (file, number, answered, float(share)) == ("a.csv", str(error["row"] + 1), "a, b", error["probability"])
        assert text.removeprefix("'") == error["text"].removeprefix("'")
        assert not text.startswith(("=", "+", "-", "@", "\t"))
        assert not label.startswith(("=", "+", "-", "@", "\t"))


def test_a_row_of_an_unknown_source_has_no_place():
    assert locate([{"row": 0, "expected": 1.5, "answered": -2.0}], [{"text": "a"}]) == [{"row": 0, "expected": 1.5, "answered": -2.0}]
    assert as_csv([{"row": 0, "expected": 1.5, "answered": -2.0}]).splitlines()[1] == ",,1.5,-2.0"
