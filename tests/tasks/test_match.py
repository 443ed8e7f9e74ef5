from __future__ import annotations

import polars as pl
import pytest

from vertune.core.errors import DataError
from vertune.tasks.match import Match
from vertune.testing.tasks import features_of


def test_the_second_text_is_required():
    with pytest.raises(
        DataError,
        match=r"no column 'text_pair', which the task 'match' needs\. Its columns are: text, label\. .*fields: \{text_pair: COLUMN\}",
    ):
        Match().clean(pl.DataFrame({"text": ["x"], "label": ["a"]}))
    cleaned = Match().clean(pl.DataFrame({"text": ["x", "y"], "text_pair": ["", "z"], "label": ["a", "b"]}))
    assert len(cleaned.frame) == 1
    assert cleaned.rejected[0]["reason"] == "text_pair is empty"


def test_both_texts_are_read_side_by_side():
    task = Match()
    (view,) = task.views(["text", "text_pair", "label"])
    assert view.fields == ("text", "text_pair")
    (feature,) = features_of(task, [{"text": "一二", "text_pair": "三"}])
    assert feature.places.segments.tolist() == [-1, 0, 0, -1, 1, -1]


def test_chinese_paraphrases_are_told_apart_by_what_both_sides_share():
    words = ["苹果手机", "银行贷款", "天气预报", "火车时刻", "信用卡", "保险理赔", "电影票房", "房屋租赁"]
    same = [{"text": f"怎么查{word}", "text_pair": f"如何查询{word}", "label": "1"} for word in words]
    other = [{"text": f"怎么查{word}", "text_pair": f"如何查询{words[row - 3]}", "label": "0"} for row, word in enumerate(words)]
    task = Match().fit(pl.DataFrame(same + other))
    answers = task.baselines(same + other, [], same + other)["tfidf"]
    assert task.score(same + other, answers)["f1"] > 0.9
