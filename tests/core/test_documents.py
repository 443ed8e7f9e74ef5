from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.bounded_yaml import MAX_BYTES, parse_yaml
from vertune.core.config import load, override
from vertune.core.documents import lines, parse_json
from vertune.core.errors import ConfigError, VertuneError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
"""An array whose aliases stand for 9 ** 10 texts."""


@given(st.text(st.sampled_from("ab \n\r\f\v\x1c\x1d\x85\u2028\u2029")))
def test_only_line_ends_divide_a_text(text):
    assert lines(text) == text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") * bool(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "line 2, column 8.*alias"),
        ("data: {}\nseed: " + "9" * 5000, "line 2, column 7.*5,000 characters"),
        ("seed: 0x" + "f" * 6000, "line 1, column 7.*6,002 characters"),
        ("data: " + "[" * 3000, "nested more than 40 levels"),
        ("- " * 3000 + "a", "nested more than 40 levels"),
        ("data: {}\n" + "".join("  " * depth + "a:\n" for depth in range(500)), "nested more than 40 levels"),
        ("name: a\nseed: 2024-13-45", "line 2, column 7.*2024-13-45.*can't be read"),
        ("seed: !!int x", "line 1, column 7"),
        ("seed: !!timestamp x", "line 1, column 7"),
        ("seed: !!python/object/apply:os.system [ls]", "line 1, column 7"),
        ("seed: 1\nname: a\nseed: 2", "line 3, column 1.*'seed' is written twice"),
        ("seed: 1\nname: \0", "line 2, column 7"),
        ("a: b: c", "line 1, column 5"),
        ("data: {a: 1\n", "line 2"),
        ("? [a]\n: 1", "unhashable"),
    ],
)
def test_yaml_that_no_config_contains_is_refused_with_its_line(tmp_path, text, says):
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=rf"(?s)run.yaml.*{says}") as caught:
        parse_yaml(text, "run.yaml")
    assert len(str(caught.value)) < 400
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(tmp_path / "run.yaml")
    assert time.perf_counter() - started < 5


def test_settings_are_read_within_the_same_limits():
    for text in ("9" * 5000, "[" * 3000, "[*a]"):
        with pytest.raises(ConfigError, match="--set seed="):
            override({}, [f"seed={text}"])


@pytest.mark.parametrize("content", [b"a: \xff", b"#" * (MAX_BYTES + 1)])
def test_a_file_that_is_no_config_is_refused(tmp_path, content):
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load(tmp_path / "run.yaml")


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(_PLAIN)
def test_other_yaml_is_read_as_the_safe_loader_reads_it(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    if "&id" not in text:  # the writer uses an alias where an object occurs twice
        assert parse_yaml(text, "run.yaml") == yaml.safe_load(text)


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            ["data:", "source", ": ", "{", "}", "[", "]", "\n", "  ", "- ", "task", "*a", "&a ", "'", '"', "1", "!!", "a.csv", "?", "|"]
        ),
        max_size=25,
    ).map("".join)
    | st.dictionaries(
        st.sampled_from(["data", "task", "compress", "optimiser", "training", "base", "encoder", 1, None]), _PLAIN, max_size=3
    ).map(yaml.safe_dump)
)
def test_whatever_a_config_file_contains_the_error_is_ours(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with suppress(VertuneError):
        load(path)


def test_json_that_is_nested_too_deeply_is_a_value_error():
    with pytest.raises(ValueError, match="inside each other"):
        parse_json("[" * 200_000)
    assert parse_json(json.dumps({"a": [1, None]})) == {"a": [1, None]}
