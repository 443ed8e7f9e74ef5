"""Takes the tokens that the field never uses out of the tokenizer and the table of embeddings.

A text that would need one of them is written in shorter pieces that are still there, so that every text can be encoded.
"""

from __future__ import annotations

from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel


class TrimVocabulary(Compressor):
    """It has no options: what is used is what the training texts use, and the further ones of the field (`data.unlabelled`)."""

    def shrink(self, model: StandaloneModel, bench: CompressionContext) -> StandaloneModel:
        """The model on the smaller vocabulary; ConfigError where the kind of tokenizer is not known."""
        import torch

        from vertune.nn import shrink

        encoder, kept = model.encoder.trimmed([*bench.train, *bench.unlabelled], model.task.views(bench.columns), bench.folder / "trimmed")
        body = shrink.copied(model.body)
        shrink.keep_tokens(body, torch.from_numpy(kept))
        return StandaloneModel(encoder, model.task, body)
