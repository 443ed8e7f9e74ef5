from __future__ import annotations

import pytest

from vertune.core.config import Config, build, dump, is_same, load, override, parse
from vertune.core.errors import ConfigError
from vertune.core.spellings import modernise, moved_value

OLD = {"data": {}, "optimiser": {"rate": 0.003}, "slices": ["channel"], "tolerance": 0.01, "compress": [{"name": "prune", "rows": 0.5}]}
NEW = {
    "data": {},
    "training": {"optimiser": {"rate": 0.003}},
    "evaluate": {"slices": ["channel"]},
    "compress": {"chain": [{"name": "prune", "rows": 0.5}], "tolerance": 0.01},
}


def test_an_old_config_is_the_new_one():
    assert modernise(OLD)[0] == NEW
    assert modernise(NEW) == (NEW, [])
    assert build(Config, OLD) == build(Config, NEW)
    assert is_same(OLD, build(Config, NEW))
    assert not is_same({**OLD, "tolerance": 0.02}, build(Config, NEW))
    assert not is_same({"nonsense": 1}, build(Config, NEW))
    assert OLD["compress"] == [{"name": "prune", "rows": 0.5}]


def test_a_section_that_is_there_keeps_its_other_options():
    old = {"data": {}, "training": {"epochs": 3}, "optimiser": {"name": "sgd"}, "compress": [], "tolerance": 1}
    config = build(Config, old)
    assert (config.training.epochs, config.training.optimiser.name) == (3, "sgd")
    assert (config.compress.chain, config.compress.tolerance) == ([], 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optimiser.rate=1e-4", "training.optimiser.rate=1e-4"),
        ("tolerance=0.02", "compress.tolerance=0.02"),
        ("slices=[channel]", "evaluate.slices=[channel]"),
        ("compress=[int8]", "compress.chain=[int8]"),
        ("compress= []", "compress.chain=[]"),
    ],
)
def test_old_settings_do_what_new_ones_do_and_the_log_says_what_to_write(old, new, caplog):
    assert override(OLD, [old]) == override(NEW, [new])
    (message,) = caplog.messages
    assert f"Write '--set {new.partition('=')[0]}=…' instead" in message
    caplog.clear()
    override(NEW, [new])
    assert not caplog.messages


def test_what_a_person_writes_is_noted_once_and_what_a_manifest_holds_is_not(tmp_path, caplog):
    build(Config, OLD)
    assert not caplog.messages
    parse(OLD)
    assert [message.split("'")[3] for message in caplog.messages] == [
        "compress.chain: [...]", "training.optimiser", "evaluate.slices", "compress.tolerance",
    ]  # fmt: skip
    caplog.clear()
    (tmp_path / "run.yaml").write_text("data: {}\noptimiser: {rate: 0.003}\n")
    assert load(tmp_path / "run.yaml").training.optimiser.rate == 0.003
    (message,) = caplog.messages
    assert message == f"{tmp_path / 'run.yaml'}: 'optimiser' is an older spelling that still works. Write 'training.optimiser' instead."


def test_an_option_in_both_places_is_refused():
    with pytest.raises(ConfigError, match=r"both 'tolerance' and 'compress.tolerance'.*remove it"):
        build(Config, {"data": {}, "tolerance": 1, "compress": {"tolerance": 0.5}})


def test_a_value_of_a_manifest_is_found_in_every_version():
    assert moved_value(OLD, "compress.tolerance", 0.005) == moved_value(dump(build(Config, NEW)), "compress.tolerance", 0.005) == 0.01
    assert moved_value({"data": {}}, "compress.tolerance", 0.005) == 0.005
    assert [part["name"] for part in moved_value(OLD, "compress.chain", [])] == ["prune"]
