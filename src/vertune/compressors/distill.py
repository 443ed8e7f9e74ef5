"""Trains a smaller model (student), with fewer layers or on another base, to reproduce the model's outputs.

The student is trained on the training texts and, if `data.unlabelled` is set, on further texts of the same kind that have no labels.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, Encoder, StandaloneModel

_LAYERS = 3


class Distill(Compressor):
    """Distillation and its options."""

    layers: Annotated[int, Field(ge=1)] | None = None
    """Number of layers that the student keeps, evenly spaced. Default: 3 layers of the model, or all layers of the option `base`."""
    base: str | None = None
    """Another pretrained model for the student. By default, the student starts from layers of the model to compress."""
    epochs: float = Field(default=10, gt=0)
    """Number of training passes over the texts."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Train and return the student.

        Raise ConfigError if the student's pretrained model has too few layers, or another hidden size than `model`.
        """
        from vertune.nn import shrink, structure

        student = self._other(model) if self.base else StandaloneModel(model.encoder, model.task, shrink.copied(model.body))
        count = structure.count(student.body.backbone)
        number = self.layers or (count if self.base else _LAYERS)
        if number != count:
            shrink.keep_layers(student.body, shrink.evenly(count, number))
        context.distil(student, model, self.epochs)
        return student

    def _other(self, model: StandaloneModel) -> StandaloneModel:
        """Return an untrained student: the pretrained model of the option `base`, with a copy of the head of `model`.

        Raise ConfigError if the head needs another hidden size, or if the pooling is `native`.
        """
        from vertune.nn.build import build

        options = model.encoder.model_dump(mode="json")
        encoder = Encoder.model_validate({**options, "base": self.base}).resolve([], model.task.views([]))
        body = build(encoder, model.task)
        if body.width != model.body.width or body.native is not None:
            raise ConfigError(
                f"The base '{self.base}' (hidden size {body.width}) can't be used with the model's head: expected hidden size "
                f"{model.body.width} and pooling mean or cls. Choose such a base, or leave the option `base` out."
            )
        body.head.load_state_dict(model.body.head.state_dict())
        return StandaloneModel(encoder, model.task, body.eval())
