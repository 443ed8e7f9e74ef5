"""Rounds all weights to half precision."""

from __future__ import annotations

from vertune.core.kinds import Compressor, StandaloneModel


class Halves(Compressor):
    """It has no options."""

    def shrink(self, model, bench):
        from vertune.nn import shrink

        body = shrink.copied(model.body)
        for parameter in body.parameters():
            parameter.data = parameter.data.half().float()
        return StandaloneModel(model.encoder, model.task, body)
