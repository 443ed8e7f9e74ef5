"""A student of fewer layers, or on another base, that learns what the model says.

It learns from the training texts and from all further ones of the field that there are (`data.unlabelled`), which need no labels.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, Encoder, StandaloneModel

_LAYERS = 3


class Distill(Compressor):
    """Options of distillation."""

    layers: Annotated[int, Field(ge=1)] | None = None
    """Layers of the student, those that lie furthest apart: 3 of the model's own where nothing is said, all of another base."""
    base: str | None = None
    """Another base for the student; without one it starts from the model's own layers."""
    epochs: float = Field(default=10, gt=0)
    """Passes over the texts."""

    def shrink(self, model: StandaloneModel, bench: CompressionContext) -> StandaloneModel:
        """The student; ConfigError where the base has too few layers, or states of another width than the head reads."""
        from vertune.nn import shrink, structure

        student = self._other(model) if self.base else StandaloneModel(model.encoder, model.task, shrink.copied(model.body))
        count = structure.count(student.body.backbone)
        number = self.layers or (count if self.base else _LAYERS)
        if number != count:
            shrink.keep_layers(student.body, shrink.evenly(count, number))
        bench.learn(student, model, self.epochs)
        return student

    def _other(self, model: StandaloneModel) -> StandaloneModel:
        """The task's head on another base."""
        from vertune.nn.build import build

        options = model.encoder.model_dump(mode="json")
        encoder = Encoder.model_validate({**options, "base": self.base}).resolve([], model.task.views([]))
        body = build(encoder, model.task)
        if body.width != model.body.width or body.native is not None:
            raise ConfigError(
                f"The student's base '{self.base}' has states of width {body.width}, the model of {model.body.width}. "
                "Choose a base of the same width and pooling: mean or cls, or leave the base out."
            )
        body.head.load_state_dict(model.body.head.state_dict())
        return StandaloneModel(encoder, model.task, body.eval())
