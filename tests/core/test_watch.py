"""The section `watch`: times, references, rules, and that channels come from the operator's file alone."""

from datetime import UTC, datetime, timedelta

import pytest

from vertune.core.config import Config, dump
from vertune.core.errors import ConfigError, NotFound, VertuneError
from vertune.core.parse import build
from vertune.core.watch import Watch, WatchFile, default_rules, duration

HOOK = {"name": "webhook", "url": "https://example.com/hook", "secret_env": "HOOK_SECRET"}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 1 d ", 86_400), ("2w", 14 * 86_400)])
def test_a_time_is_a_number_and_a_unit(text, seconds):
    assert duration(text) == timedelta(seconds=seconds)


def test_what_is_no_option_is_refused_by_name():
    for options, why in [
        ({"every": "0s"}, "'0s' is no time"), ({"every": "1"}, "is no time"), ({"every": "99999999w"}, "is no time"),
        ({"window": 0}, "1 to 1,000,000"), ({"window": "long"}, "is no time"), ({"reference": "2030-01-01"}, "expected 'validation'"),
        ({"reference": "2030-02-01..2030-01-01"}, "ends before it begins"), ({"rules": [{"name": "a", "monitors": ["b"]}]}, "no monitor"),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, "Two of the rules are called 'a'"), ({"rules": [{"name": "a b"}]}, "pattern"),
        ({"channels": [HOOK, HOOK]}, "Two of the channels are called 'webhook'"), ({"channels": ["pigeon"]}, "no channel 'pigeon'"),
        ({"channels": [HOOK], "rules": [{"name": "a", "channels": ["hook"]}]}, "no channel 'hook' in the rule 'a'"),
        ({"retrain": {"every": "soon"}}, "is no time"), ({"retrain": {"labels": 0}}, "greater than or equal"), ({"language": "fr"}, "'en'"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=why):
            build(Watch, options)


def test_a_reference_is_the_validation_rows_or_a_time_whose_last_day_counts():
    assert Watch().span is None
    assert build(Watch, {"reference": "2030-01-01..2030-01-14"}).span == (
        datetime(2030, 1, 1, tzinfo=UTC),
        datetime(2030, 1, 15, tzinfo=UTC),
    )
    moments = build(Watch, {"reference": "2030-01-01T06:00+02:00..2030-01-01T12:00"}).span
    assert moments == (datetime(2030, 1, 1, 4, tzinfo=UTC), datetime(2030, 1, 1, 12, tzinfo=UTC))
    assert (Watch().length, build(Watch, {"window": "1d"}).length) == (500, timedelta(days=1))


def test_default_rules_divide_all_monitors_among_them():
    from vertune.core import part

    named = [name for rule in default_rules() for name in rule.monitors]
    assert sorted(named) == part.names("monitors")
    assert Watch().rules_in_force == default_rules()
    assert build(Watch, {"rules": []}).rules_in_force == []
    assert not Watch().retrain.wanted


def test_a_model_never_holds_channels_whatever_its_folder_says():
    config = build(Config, {"data": {}, "watch": {"every": "2h", "channels": [HOOK], "retrain": {"labels": 50}}})
    assert config.watch.channels
    written = dump(config)
    assert "channels" not in written["watch"]
    assert written["watch"]["every"] == "2h"
    forged = build(Config, {"data": {}, "watch": {**written["watch"], "channels": [{"name": "command", "command": ["/bin/false"]}]}})
    assert WatchFile().watch("intent", forged.watch).channels == []
    assert WatchFile({"channels": [HOOK]}).watch("intent", forged.watch).channels == config.watch.channels


def test_the_operator_overrides_what_models_say_for_all_verticals_and_for_some(tmp_path):
    file = tmp_path / "watch.yaml"
    file.write_text("every: 2h\nchannels: [{name: file, path: alerts.jsonl}]\nverticals: {intent: {every: 3h, language: zh}}\n")
    found = WatchFile.read(file)
    own = build(Watch, {"every": "1h", "window": 500})
    intent, mood = (found.watch(name, own) for name in ("intent", "mood"))
    assert (intent.every, intent.language, intent.window) == ("3h", "zh", 500)
    assert (mood.every, mood.language, mood.window) == ("2h", "en", 500)
    assert [one.called for one in intent.channels] == ["file"]


def test_a_config_of_training_is_a_file_for_its_vertical(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: intent\ndata: {source: a.csv}\nwatch: {every: 2h, channels: [{name: file, path: alerts.jsonl}]}\n")
    found = WatchFile.read(file)
    assert found.watch("intent", Watch()).channels
    assert found.watch("mood", Watch()) == Watch()


def test_a_file_with_errors_is_refused_when_it_is_read(tmp_path):
    with pytest.raises(NotFound, match="no file"):
        WatchFile.read(tmp_path / "none.yaml")
    for text in ("- a\n", "every: soon\n", "verticals: [a]\n", "verticals: {intent: {every: soon}}\n", "hallo: 1\n"):
        (tmp_path / "watch.yaml").write_text(text)
        with pytest.raises(VertuneError):
            WatchFile.read(tmp_path / "watch.yaml")
    useless = "window: 100\n", "window: true\n", "monitors: [volume, volume]\n", "rules: [{name: a, channels: [night]}]\n"
    no_mapping = "data: {source: a.csv}\nwatch: 5\n", "data: {source: a.csv}\nwatch: [1]\n"
    for text in (*useless, *no_mapping, "reference: 2030-01-01..9999-12-31\n"):
        (tmp_path / "watch.yaml").write_text(text)
        with pytest.raises(ConfigError):
            WatchFile.read(tmp_path / "watch.yaml")
    (tmp_path / "watch.yaml").write_text("")
    assert WatchFile.read(tmp_path / "watch.yaml").watch("intent", Watch()) == Watch()


def test_a_name_of_a_channel_means_one_channel_for_all_verticals(tmp_path):
    file = tmp_path / "watch.yaml"
    channel = "{channels: [{name: file, path: %s.jsonl%s}]}"
    file.write_text(f"verticals: {{intent: {channel % ('a', '')}, mood: {channel % ('b', '')}}}\n")
    with pytest.raises(ConfigError, match="'intent' and 'mood' have different channels that are called 'file'"):
        WatchFile.read(file)  # messages about one would go where those about the other belong
    for one, other in ((("a", ""), ("b", ", id: night")), (("a", ""), ("a", ""))):
        file.write_text(f"verticals: {{intent: {channel % one}, mood: {channel % other}}}\n")
        assert WatchFile.read(file).watch("mood", Watch()).channels


def test_a_vertical_that_is_called_like_a_number_is_found(tmp_path):
    (tmp_path / "watch.yaml").write_text("verticals: {2030: {every: 3h}}\n")
    assert WatchFile.read(tmp_path / "watch.yaml").watch("2030", Watch()).every == "3h"
