"""Signatures: only what the key signed is accepted, and nothing that changed since."""

from __future__ import annotations

import json
import shutil

import pytest

from vertune.core import signing
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError, Conflict, ModelError
from vertune.core.signing import PublicKey


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        signing.new_key(folder / name)
    return folder


@pytest.fixture
def listing(tmp_path, keys):
    home = Home(tmp_path)
    run = home.begin("models", "made", config={"labels": ["a", "b"]})
    (run.folder / "weights").write_bytes(b"123")
    made = home.finish(run).folder / "manifest.json"
    signing.sign(made, keys / "ours")
    return made


def test_the_signer_is_accepted_and_no_other(listing, keys):
    PublicKey.load(keys / "ours.pub").require(listing)
    with pytest.raises(ModelError, match="not made with the key"):
        PublicKey.load(keys / "theirs.pub").require(listing)


def test_what_changed_after_signing_is_refused(listing, keys):
    entries = json.loads(listing.read_text())
    entries["files"]["weights"] = "0" * 64
    from vertune.core.integrity import sealed

    listing.write_text(json.dumps(sealed(entries)))
    with pytest.raises(ModelError, match="have changed since"):
        PublicKey.load(keys / "ours.pub").require(listing)


def test_a_signature_holds_for_one_artifact_alone(listing, keys, tmp_path):
    home = Home(tmp_path)
    other = home.finish(home.begin("models", "other")).folder / "manifest.json"
    with pytest.raises(ModelError, match="is not signed"):
        PublicKey.load(keys / "ours.pub").require(other)
    shutil.copy(listing.with_name("signature.json"), other.parent)
    with pytest.raises(ModelError, match="not made with the key"):
        PublicKey.load(keys / "ours.pub").require(other)


@pytest.mark.parametrize("content", ["{}", "[]", '{"signature": 7}', '{"signature": "&&"}', '{"signature": ""}'])
def test_a_damaged_signature_is_refused(listing, keys, content):
    listing.with_name("signature.json").write_text(content)
    with pytest.raises(ModelError, match="The signature in"):
        PublicKey.load(keys / "ours.pub").require(listing)


def test_without_a_list_of_hashes_nothing_counts_as_signed(tmp_path, keys):
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(ModelError, match="lists no hashes"):
        PublicKey.load(keys / "ours.pub").require(tmp_path / "manifest.json")


def test_private_keys_are_private_and_never_overwritten(keys, listing, tmp_path):
    assert (keys / "ours").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict, match="exists"):
        signing.new_key(keys / "ours")
    shared = tmp_path / "shared"
    shutil.copy(keys / "ours", shared)
    shared.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read it"):
        signing.sign(listing, shared)


def test_what_is_no_key_is_refused(keys, listing, tmp_path):
    (tmp_path / "text").write_text("no key")
    for file in (tmp_path / "text", tmp_path / "absent", keys / "ours"):
        with pytest.raises(ConfigError, match="not a public key"):
            PublicKey.load(file)
    for file in (tmp_path / "text", tmp_path / "absent", keys / "ours.pub"):
        with pytest.raises(ConfigError, match="not a private key"):
            signing.sign(listing, file)
