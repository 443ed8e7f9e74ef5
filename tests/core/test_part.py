from __future__ import annotations

import json

import pytest

from vertune.core import part
from vertune.core.errors import ConfigError, UnknownName
from vertune.core.kinds import Encoder, Task


def test_a_name_and_a_mapping_are_the_same_choice():
    assert Encoder.model_validate("text") == Encoder.model_validate({"name": "text"})


def test_what_is_dumped_is_parsed_back():
    encoder = Encoder.model_validate({"name": "text", "max_tokens": 64, "truncation": "tail"})
    again = Encoder.model_validate(json.loads(encoder.model_dump_json()))
    assert again == encoder
    assert again.name == "text"


def test_an_unknown_part_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'classify'"):
        Task.model_validate("clasify")


def test_an_unknown_option_names_the_nearest_and_its_part():
    with pytest.raises(ConfigError, match=r"encoder 'text'.*'max_token'.*Did you mean 'max_tokens'"):
        Encoder.model_validate({"name": "text", "max_token": 64})


def test_a_value_of_the_wrong_type_is_said_with_its_field():
    with pytest.raises(ConfigError, match="'stride' is 2"):
        Encoder.model_validate({"name": "text", "stride": 2})


@pytest.mark.parametrize("value", [3, None, ["text"], {"max_tokens": 3}])
def test_what_is_no_choice_is_refused(value):
    with pytest.raises(ConfigError, match="does not name one of the encoders"):
        Encoder.model_validate(value)


def test_parts_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Encoder.model_validate("text").max_tokens = 3


def test_about_is_read_without_importing():
    assert part.about("encoders", "text").startswith("Encodes one text or a pair of texts")
