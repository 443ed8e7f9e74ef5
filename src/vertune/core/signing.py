"""Signs lists of file hashes with Ed25519 keys (RFC 8032) and checks the signatures; independent of what the files contain.

What is signed is a JSON file that lists the SHA-256 of the files of its folder (core/integrity.py). The signature covers all entries of
this JSON file, and so every listed file. It is written to `signature.json` beside the JSON file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.errors import ConfigError, Conflict, MissingExtra, ModelError
from vertune.core.files import read_json, storage_errors, write_json, write_text
from vertune.core.integrity import FILES, SIGNATURE, checksum

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PUBLIC_SUFFIX = ".pub"
"""Is appended to the path of a private key; the result is the path of its public key."""
_CONTEXT = "vertune signature 1"
"""Begins every signed message, so that no signature made for another purpose is accepted here."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public key of the only signer whose artifacts may be loaded."""

    file: Path
    key: Ed25519PublicKey

    @classmethod
    def load(cls, file: Path) -> PublicKey:
        """Read a public key in PEM format; raise ConfigError if the file contains none."""
        _check_installed()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(file.expanduser().read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise _not_a_key(file, "public") from error
        if not isinstance(key, Ed25519PublicKey):
            raise _not_a_key(file, "public")
        return cls(file, key)

    def require(self, listing: Path) -> None:
        """Raise ModelError unless this key signed `listing`, a JSON file that lists the hashes of the files of its folder."""
        from cryptography.exceptions import InvalidSignature

        entries, path = read_json(listing), listing.with_name(SIGNATURE)
        if not isinstance(entries, dict) or not isinstance(entries.get(FILES), dict):
            raise ModelError(f"{listing} lists no hashes of files, so nothing in its folder is signed. Sign the model: vertune sign MODEL.")
        if not path.exists():
            raise ModelError(
                f"{listing.parent} is not signed; expected a signature of the key {self.file}. "
                "Sign the model: vertune sign MODEL --key FILE"
            )
        try:
            self.key.verify(base64.b64decode(read_json(path)["signature"], validate=True), _message(listing, entries))
        except (InvalidSignature, KeyError, TypeError, ValueError, binascii.Error) as error:
            raise ModelError(
                f"The signature in {path} was not made with the key {self.file} for this content: another key made it, or the files have "
                "changed since. Restore the folder, or check the files and sign the model again: vertune sign MODEL --key FILE"
            ) from error


def new_key(file: Path) -> Path:
    """Create a private key, readable by its owner alone, and its public key beside it; return the path of the public key.

    Raises Conflict if one of the files exists.
    """
    _check_installed()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = file.with_name(file.name + PUBLIC_SUFFIX)
    existing = next((path for path in (file, public) if path.exists()), None)
    if existing:
        raise Conflict(f"{existing} exists, and a key that is overwritten is lost. Choose another file.")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secret)
    text = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_text(public, text.decode())
    return public


def sign(listing: Path, key: Path) -> None:
    """Sign a JSON file that lists the hashes of the files of its folder, with the private key in the file `key`.

    Raises ConfigError if the file contains no private key, or if other users of this machine can read it.
    """
    secret = _private_key(key)
    entries = read_json(listing)
    signature = base64.b64encode(secret.sign(_message(listing, entries))).decode()
    public = secret.public_key().public_bytes_raw()
    write_json(
        listing.with_name(SIGNATURE),
        {"algorithm": "ed25519", "key": hashlib.sha256(public).hexdigest()[:16], "signature": signature},
    )


def _message(listing: Path, entries: dict[str, Any]) -> bytes:
    """Return the bytes that are signed: the name of the JSON file and the SHA-256 of its entries."""
    return f"{_CONTEXT}\n{listing.name}\n{checksum(entries)}\n".encode()


def _private_key(file: Path) -> Any:
    _check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _not_a_key(file, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(file, "private")
    if mode & 0o077 and os.name == "posix":
        raise ConfigError(
            f"The private key {file} has the permissions {mode:o}, so others can read it; expected 600. Make it private: chmod 600 {file}, "
            "or create a new key: vertune sign --new-key FILE"
        )
    return key


def _not_a_key(file: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{file} is not a {what} key that can be read; expected an Ed25519 key in PEM format. "
        "Create a pair of keys: vertune sign --new-key FILE"
    )


def _check_installed() -> None:
    try:
        import cryptography  # noqa: F401 - the package alone
    except ImportError as error:
        raise MissingExtra("A signature", "sign", "cryptography") from error
