"""Trains a student with fewer layers, or on another base, to reproduce the model's outputs.

The student is trained on the training texts and, if `data.unlabelled` is set, on further texts of the field without labels.
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
    """Number of the student's layers, evenly spaced among those of its base. Default: 3 of the model's layers, or all of another base."""
    base: str | None = None
    """Another base for the student. By default, the student starts from the model's own layers."""
    epochs: float = Field(default=10, gt=0)
    """Number of passes over the texts."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Train and return the student; raise ConfigError if its base has too few layers, or another width of states than the model."""
        from vertune.nn import shrink, structure

        student = self._other(model) if self.base else StandaloneModel(model.encoder, model.task, shrink.copied(model.body))
        count = structure.count(student.body.backbone)
        number = self.layers or (count if self.base else _LAYERS)
        if number != count:
            shrink.keep_layers(student.body, shrink.evenly(count, number))
        context.distil(student, model, self.epochs)
        return student

    def _other(self, model: StandaloneModel) -> StandaloneModel:
        """Return a student on the other base, with a copy of the model's head; raise ConfigError if the head does not fit the base."""
        from vertune.nn.build import build

        options = model.encoder.model_dump(mode="json")
        encoder = Encoder.model_validate({**options, "base": self.base}).resolve([], model.task.views([]))
        body = build(encoder, model.task)
        if body.width != model.body.width or body.native is not None:
            raise ConfigError(
                f"The student's base '{self.base}' can't carry the model's head: its states have width {body.width}, the model's "
                f"{model.body.width}. Choose a base of the same width with pooling mean or cls, or leave `base` out."
            )
        body.head.load_state_dict(model.body.head.state_dict())
        return StandaloneModel(encoder, model.task, body.eval())
