"""Removes tokens from the tokenizer and the embedding table that never occur in the training and unlabelled texts.

A text that would need a removed token is split into shorter tokens that remain, so every text can still be encoded.
"""

from __future__ import annotations

from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class TrimVocabulary(Compressor):
    """Trimming of the vocabulary to tokens that occur in the training texts or in `data.unlabelled`; it has no options."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return the model with the smaller vocabulary; raise ConfigError if the type of tokenizer is not supported."""
        import torch

        from vertune.nn import shrink

        records = [*context.train, *context.unlabelled]
        encoder, kept = model.encoder.trimmed(records, model.task.views(context.columns), context.folder / "trimmed")
        body = shrink.copied(model.body)
        shrink.keep_tokens(body, torch.from_numpy(kept))
        return StandaloneModel(encoder, model.task, body)
