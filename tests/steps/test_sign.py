"""Signing a model with all that serves it; whoever requires the signature loads nothing else."""

from __future__ import annotations

import json
import shutil

import pytest

import vertune
from tests.server import conftest as served
from vertune.cli import main
from vertune.core import signing
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError, ModelError, StorageError
from vertune.runtime.fleet import Fleet
from vertune.steps.bundle import bundle
from vertune.steps.sign import sign

home = served.home


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "ours"
    signing.new_key(file)
    return file


def requiring(home: Home, key) -> tuple[Fleet, dict[str, str]]:
    made = Fleet(home, threads=1, require_signed=key.with_name("ours.pub"))
    return made, made.follow(made.live())


def test_only_what_was_signed_is_served(home, key):
    running, errors = requiring(home, key)
    assert not running.deployments
    assert all("is not signed" in why for why in errors.values())
    for name in ("intent", "whole"):
        assert sign(home.get("models", name), home, key)
    running, errors = requiring(home, key)
    assert running.deployments.keys() == {"intent", "whole"}
    backbone = home.shelf("backbones")[-1]
    entry = backbone.folder / "verticals" / home.get("models", "intent").id
    for folder in (home.get("models", "intent").folder, backbone.folder, entry):
        (folder / "signature.json").rename(folder / "away")
        assert "intent" in requiring(home, key)[1]
        (folder / "away").rename(folder / "signature.json")
    assert "intent" not in requiring(home, key)[1]


def test_what_another_key_signed_is_not_served(home, key, tmp_path):
    signing.new_key(tmp_path / "theirs")
    sign(home.get("models", "intent"), home, tmp_path / "theirs")
    assert "was not made with the key" in requiring(home, key)[1]["intent"]


def test_damaged_files_are_not_signed(home, key):
    file = home.get("models", "intent").folder / "delta.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(StorageError, match="has changed"):
        sign(home.get("models", "intent"), home, key)


def test_models_of_an_older_version_get_their_hashes_and_entries_of_one_are_refused(home, key):
    model = home.get("models", "intent")
    old = {name: value for name, value in model.manifest.items() if name not in ("files", "checksum")}
    (model.folder / "manifest.json").write_text(json.dumps(old))
    sign(model, home, key)
    assert "intent" not in requiring(home, key)[1]
    file = home.shelf("backbones")[-1].folder / "verticals" / model.id / "served.json"
    entry = json.loads(file.read_text())
    del entry["files"], entry["checksum"]
    file.write_text(json.dumps(entry))
    with pytest.raises(ConfigError, match="older version"):
        sign(model, home, key)
    assert "lists no hashes" in requiring(home, key)[1]["intent"]


def test_the_command_the_interface_and_predict_agree(home, tmp_path, capsys):
    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main([*words, "--home", str(home.folder)])
        return left.value.code, capsys.readouterr().err

    key = tmp_path / "key"
    predict = ("predict", "intent", "tell me of rome", "--require-signed", f"{key}.pub")
    assert run("sign", "--new-key", str(key))[0] == 0
    assert key.stat().st_mode & 0o777 == 0o600
    code, told = run(*predict)
    assert code == ModelError.exit_code
    assert "is not signed" in told
    with pytest.raises(ModelError, match="is not signed"):
        vertune.load("intent", home.folder, require_signed=f"{key}.pub")
    assert run("sign", "intent", "--key", str(key))[0] == 0
    assert run(*predict)[0] == 0
    assert vertune.load("intent", home.folder, require_signed=f"{key}.pub").predict("tell me of rome")["label"]
    assert run("sign", "intent")[0] == ConfigError.exit_code


def test_a_bundle_is_signed_by_itself(home, key, tmp_path):
    model = home.get("models", "intent")
    sign(model, home, key)
    folder = bundle(model, tmp_path / "bundle")
    with pytest.raises(ModelError, match="is not signed"):
        vertune.load(folder, require_signed=key.with_name("ours.pub"))
    signing.sign(folder / "manifest.json", key)
    made = vertune.load(folder, require_signed=key.with_name("ours.pub"))
    assert made.predict("soup")
    tokenizer = folder / "base" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("rome", "rohm"))
    with pytest.raises(StorageError, match=r"tokenizer\.json has changed"):
        vertune.load(folder).predict("soup")
    shutil.copy(home.get("models", "spans").folder / "delta.safetensors", folder)
    with pytest.raises(StorageError):
        vertune.load(folder).predict("soup")
