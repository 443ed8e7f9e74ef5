"""Names of models are safe as folders, in URLs and in labels of metrics, whatever script they are written in."""

import unicodedata
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.names import as_name, check_name, is_name


@pytest.mark.parametrize("name", ["a", "support-intent", "2024", "订单分类", "été.v2", "заказ_1", "हिंदी", "a" * 80])
def test_a_safe_name_is_taken(name):
    assert check_name(name) == name
    assert as_name(name)[:60] == name[:60].replace("_", "-").replace(".", "-")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "a b",
        "a/b",
        "a..b",
        ".a",
        "-a",
        "a\n",
        "a\0",
        "a@b",
        "ａ",
        "ﬁ",
        "e\u0301",
        "a\u202eb",
        "😀",
        "a" * 81,
        "订" * 61,
        "\ud800",
        "\u0301a",
    ],
)
def test_an_unsafe_name_is_refused(name):
    with pytest.raises(ConfigError, match="can't be used"):
        check_name(name)


@given(st.text(max_size=100) | st.text(st.characters(categories=["L", "M", "N"]), max_size=100))
def test_every_text_becomes_a_name(text):
    name = as_name(text)
    assert check_name(name) == name
    assert as_name(name) == name


@given(st.text(st.characters(codec="utf-8", categories=["L", "M", "Nd"], include_characters="-_."), min_size=1, max_size=90))
def test_a_name_survives_as_a_folder_a_url_and_a_label(text):
    if not is_name(text):
        return
    assert unicodedata.normalize("NFC", text) == text == text.lower()
    assert Path(text).name == text
    assert len(f"{text}-20261128-083939-dcff".encode()) <= 255
    assert unquote(quote(text, safe="")) == text
    registry = CollectorRegistry()
    Counter("answers", "about", ["vertical"], registry=registry).labels(text).inc()
    page = generate_latest(registry).decode()
    assert any(sample.labels.get("vertical") == text for family in text_string_to_metric_families(page) for sample in family.samples)


def test_an_artifact_and_an_alias_in_another_script(tmp_path):
    home = Home(tmp_path)
    model = home.finish(home.begin("models", "订单分类"))
    home.alias("订单分类@live", model.id)
    assert home.get("models", "订单分类").id == model.id == home.get("models", model.id).id
    assert Config.model_validate({"name": "订单分类", "data": {}}).name == "订单分类"
