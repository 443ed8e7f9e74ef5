"""Texts of errors in Chinese: every error of the source has one, and what is put into a text stays as it was."""

from __future__ import annotations

import json
import re
import typing

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError, core_schema
from tests.core.error_patterns import read_patterns

from vertune.core.error_texts import FOLDER, translated, translated_part
from vertune.core.errors import ConfigError, MissingExtra, UnknownName
from vertune.core.parse import build
from vertune.core.sentence import said, stored, written, written_error

CATALOGUE = json.loads((FOLDER / "errors.zh.json").read_text("utf-8"))
PLACE = re.compile(r"\{(\d+)(?::t)?\}")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


class Options(BaseModel):
    """What a person writes."""

    model_config = ConfigDict(extra="forbid")

    rank: int = Field(ge=1)
    name: str = "a"


def test_every_error_of_the_source_has_a_chinese_text_and_none_is_there_for_nothing() -> None:
    """Add what is missing to the file, and remove what is named though no error says it any longer."""
    found = read_patterns()
    assert len(found.errors) > 500
    missing = {where: key for key, where in (found.errors | found.parts).items() if key not in CATALOGUE["errors"] | CATALOGUE["parts"]}
    assert missing == {}
    assert CATALOGUE["errors"].keys() - found.errors.keys() == set()
    assert CATALOGUE["parts"].keys() - found.parts.keys() == set()


def test_everything_that_pydantic_says_of_a_value_has_a_chinese_text() -> None:
    values = dict.fromkeys(
        ("error", "class_name", "method_name", "field_type", "pattern", "expected", "attribute", "encoding", "encoding_error"), "x"
    ) | dict.fromkeys(("tag", "discriminator", "expected_tags", "expected_schemes", "expected_plural"), "x")
    values |= dict.fromkeys(("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "actual_length", "max_digits"), 1)
    values |= dict.fromkeys(("decimal_places", "whole_digits", "tz_expected", "tz_actual", "expected_version"), 1)
    kinds = [kind for kind in typing.get_args(core_schema.ErrorType) if kind not in ("is_instance_of", "is_subclass_of")]
    assert len(kinds) > 90
    for kind in kinds:
        numbers = iter(range(9))
        template = PydanticKnownError(kind, values).message_template  # type: ignore[arg-type]
        key = re.sub(r"\{\w+\}", lambda _, numbers=numbers: f"{{{next(numbers)}}}", template)
        assert key in CATALOGUE["invalid"], kind


def test_chinese_texts_are_chinese_and_quote_only_what_there_is() -> None:
    for patterns in CATALOGUE.values():
        for english, chinese in patterns.items():
            assert set(PLACE.findall(chinese)) <= set(PLACE.findall(english)), english
            assert CHINESE.search(chinese) or chinese.strip() in ("native", "ONNX Runtime", "{0:t}"), english


def test_a_text_is_found_with_what_stands_in_it() -> None:
    """The values are words that no text of ours has; those that a Chinese text quotes are in it."""
    for key, chinese in CATALOGUE["errors"].items():
        values = [f"<{'abcdefghij'[place]}>" for place in range(len(set(PLACE.findall(key))))]
        text = PLACE.sub(lambda place, values=values: values[int(place[1])], key)
        found = translated(text, "zh")
        assert found is not None, key
        assert CHINESE.search(found), key
        if not re.search(r"\. \{\d\}|\}\{", key):  # else what is put in is a text of its own, or beside another one
            assert found == PLACE.sub(lambda place, values=values: values[int(place[1])], chinese), key
        assert translated(text, "en") is None


def test_parts_of_a_text_are_in_the_language_too() -> None:
    error = UnknownName("metric", "f2", ["f1", "accuracy"], "run.yaml")
    assert translated(str(error), "zh") == "没有名为“f2”的指标（在 run.yaml 中）。您是指“f1”吗？已知的有：accuracy, f1。"
    assert translated(str(MissingExtra("Training", "train", "torch")), "zh") == (
        "训练需要尚未安装的软件包“torch”。请安装：pip install 'vertune[train]'"
    )


@pytest.mark.parametrize(
    ("count", "expected"), [("42 rows", "42 行"), ("1 row", "1 行"), ("1,042 rows", "1,042 行"), ("42 mice", "42 mice")]
)
def test_counts_in_a_text_are_in_the_language(count, expected) -> None:
    text = (
        f"3 of {count} of a.csv can't be read. The first is row 7: is empty. Correct these rows, or name the encoding, delimiter or source "
        "in the config."
    )
    chinese = f"a.csv 的 {expected}中有 3 行无法读取，第一个是第 7 行：为空。请更正这些行，或在配置中指定编码、分隔符或数据来源。"
    assert translated(text, "zh") == chinese


def test_a_permission_that_a_key_lacks_is_named_in_the_language() -> None:
    text = "The key 3a8 does not have the permission 'predict' on 'news'. Ask the operator of the server for a key that has it."
    assert translated(text, "zh") == "3a8 没有权限 “news”上的“predict”。请向服务器的运营者索取有此权限的密钥或账号。"


def test_errors_of_a_config_are_one_text_for_each_field() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Options, {"rank": 0, "nam": 1}, "method 'lora'")
    assert translated(str(caught.value), "zh") == (
        "method 'lora'：“rank”是 0，但应大于或等于 1。请更正。没有选项“nam”。您是指“name”吗？可选择：name, rank。"
    )


def test_a_value_that_is_wrong_in_a_request_is_named_in_the_language() -> None:
    with pytest.raises(ValidationError) as caught:
        Options.model_validate_json('{"rank": "x", "name": []}')
    assert [translated_part(one["msg"], "zh") for one in caught.value.errors()] == [
        "应为整数，无法将文本解析为整数", "应为字符串",
    ]  # fmt: skip


def test_a_text_of_an_error_is_found_in_a_sentence_and_where_it_was_stored_as_it_is() -> None:
    busy = "There is no job with the id 'a'. List the jobs with GET /v1/jobs."
    assert written(busy, "zh") == "没有标识为“a”的任务。请用 GET /v1/jobs 列出。"
    assert written(stored(said("rollout.faulty", error=busy)), "zh") == f"候选模型的输出不正确：{written(busy, 'zh')}"
    assert written(busy, "en") == busy
    for text in ("The cat is away.", "", "我没有看懂。", "a" * 5_000):
        assert written(text, "zh") == text, "what a person wrote"


def test_a_text_of_another_library_is_quoted_as_an_english_one() -> None:
    assert written_error("out of cheese", "zh") == "（以下说明只有英文）out of cheese"
    assert written_error("out of cheese", "en") == "out of cheese"
    assert written_error("", "zh") == ""
    assert written_error(said("unserved.slow", limit="900"), "zh").startswith("准备用时超过 900 秒")
