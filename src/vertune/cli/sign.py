"""`vertune sign`: creates a pair of keys, or signs models, so that `--require-signed` accepts them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Serve models", 4)


def run(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="The models to sign, with the backbones that serve them.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The file of the private key to sign with.")] = None,
    new_key: Annotated[Path | None, typer.Option("--new-key", help="Create a private key in this file, and FILE.pub beside it.")] = None,
    home: options.Home = None,
) -> None:
    """Sign models, or create the keys for it.

    Whoever has the public key can refuse models that were not signed with the private key: vertune serve --require-signed FILE.pub
    """
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError
    from vertune.core.signing import new_key as create
    from vertune.steps.sign import sign

    if new_key is not None:
        public = create(new_key)
        output.facts({"private key, for signing alone": str(new_key), "public key, for whoever loads models": str(public)})
        key = key or new_key
    elif key is None or not models:
        raise ConfigError(
            "A model and a key are needed to sign. Write: vertune sign MODEL --key FILE; create the key: vertune sign --new-key FILE"
        )
    store = Home(home)
    for name in models or ():
        for folder in sign(store.get("models", name), store, key):
            output.say(f"signed {output.relative(folder)}")
    if not models:
        output.next_steps(f"vertune sign MODEL --key {key}", f"vertune serve --require-signed {key}.pub")
