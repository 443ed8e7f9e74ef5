"""Removes, from the tokenizer and the embedding table, the tokens that occur in no training or unlabelled text.

The unlabelled texts are those that the option `data.unlabelled` names. A text that would need a removed token is split
into shorter tokens that remain, so every text can still be encoded.
"""

from __future__ import annotations

from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class TrimVocabulary(Compressor):
    """Compressor that removes unused tokens from the vocabulary; it has no options.

    A token is unused if it occurs neither in the training texts nor in the texts of `data.unlabelled`.
    """

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return a copy of the model with a smaller tokenizer vocabulary and embedding table.

        Raise ConfigError if the type of tokenizer is not supported.
        """
        import torch

        from vertune.nn import shrink

        records = [*context.train, *context.unlabelled]
        encoder, kept = model.encoder.trimmed(records, model.task.views(context.columns), context.folder / "trimmed")
        body = shrink.copied(model.body)
        shrink.keep_tokens(body, torch.from_numpy(kept))
        return StandaloneModel(encoder, model.task, body)
