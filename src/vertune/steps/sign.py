"""sign: signs the files from which a model is loaded and served, so that others can require the signature before they load it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vertune.core import integrity, signing
from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ConfigError
from vertune.core.files import read_json
from vertune.runtime import shared_store
from vertune.runtime.fleet import graph_of


def sign(model: Artifact, home: Home, key: Path) -> list[Path]:
    """Sign a model, its ONNX graph if it has one, and the backbones on which it is served; return the signed folders.

    `key` is the file of a private key. All files are compared with their hashes first; StorageError is raised for a file that has
    changed, and ConfigError if an older version of vertune put the model on a backbone, because it wrote no hashes.
    """
    listings = list(_listings(model, home))
    for listing in listings:
        signing.sign(listing, key)
    return [listing.parent for listing in listings]


def _listings(model: Artifact, home: Home) -> Iterator[Path]:
    """Check the files of every artifact from which a model is served; yield the JSON files that list the hashes of these files."""
    artifacts = [model]
    graph = graph_of(home, model)
    if graph is not None and graph.id != model.id:
        artifacts.append(graph)
    backbones = [one for one in home.shelf("backbones") if shared_store.read_verdict(one, model.id) is not None]
    for artifact in [*artifacts, *backbones]:
        if integrity.FILES not in artifact.verified():  # an older version made it
            artifact.seal()
        artifact.check_files(artifact.manifest[integrity.FILES])
        yield artifact.folder / integrity.MANIFEST
    for backbone in backbones:
        entry = backbone.folder / shared_store.VERTICALS / model.id
        if integrity.FILES not in read_json(entry / shared_store.SERVED):
            raise ConfigError(
                f"An older version of vertune put the model {model.id} on {backbone.id} without hashes of files, so it can't be signed. "
                f"Remove the folder {entry} and run: vertune share {model.id}"
            )
        shared_store.check_entry(entry, model)
        yield entry / shared_store.SERVED
