"""Training takes tokens that were read before as they are, a refit included."""

from __future__ import annotations

from tests.encoders.test_tokens import Counting
from vertune.learning import session


def test_training_and_refit_tokenise_nothing_that_was_read(configured, tmp_path, quiet) -> None:
    config, material = configured(training={"epochs": 1, "refit": "always"})
    encoder = config.encoder
    encoder.templates  # noqa: B018 - the special tokens are learnt from a short text, once
    encoder.__dict__["reader"] = counting = Counting(encoder.reader)
    material.train_tokens = encoder.read(material.train, ["text"])
    material.validation_tokens = encoder.read(material.validation, ["text"])
    texts = len(material.train) + len(material.validation)
    assert counting.texts == texts
    session.train(config, material, session.TrainingFolders(tmp_path), quiet)
    assert counting.texts == texts
