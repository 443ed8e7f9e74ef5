"""Trains a smaller model (the student) to reproduce the outputs of the trained model (the teacher).

The student has fewer layers than the teacher, or starts from another pretrained model. It is trained on the training
texts and, if the option `data.unlabelled` is set, also on the texts without labels that this option names.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, Encoder, StandaloneModel

_LAYERS = 3


class Distill(Compressor):
    """Compressor that trains a smaller model to reproduce a trained model; its fields are options in the config."""

    layers: Annotated[int, Field(ge=1)] | None = None
    """Number of layers that the student keeps, evenly spaced. Default: 3 layers of the model, or all layers of the option `base`."""
    base: str | None = None
    """Another pretrained model for the student. By default, the student starts from layers of the model to compress."""
    epochs: float = Field(default=10, gt=0)
    """Number of training passes over the texts."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Train a student to reproduce the outputs of `model`, and return the student.

        Raise ConfigError if the student's pretrained model has fewer layers than the option `layers`, or if its layers
        can't be removed. Also raise ConfigError if the head of `model` can't be copied to the student, for example
        because the hidden sizes differ.
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
        """Return the student before its training: the pretrained model of the option `base`, with a copied head.

        The head is a copy of the head of `model`. Raise ConfigError if the pretrained model has another hidden size
        than `model`, because the head would not fit. Also raise ConfigError with the pooling `native`, where the head
        belongs to a transformers model.
        """
        from vertune.nn.build import build

        options = model.encoder.model_dump(mode="json")
        encoder = Encoder.model_validate({**options, "base": self.base}).resolve([], model.task.views([]))
        body = build(encoder, model.task)
        if body.width != model.body.width or body.native is not None:
            raise ConfigError(
                f"The head of the model can't be copied to a student with the base '{self.base}' (hidden size "
                f"{body.width}). Expected a base with hidden size {model.body.width}, and a model with pooling mean or "
                "cls. Choose another base, or leave out the option `base`."
            )
        body.head.load_state_dict(model.body.head.state_dict())
        return StandaloneModel(encoder, model.task, body.eval())
