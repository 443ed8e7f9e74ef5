"""Trains the head."""

from __future__ import annotations

from vertune.core.kinds import Method


class OnlyHead(Method):
    """It has no options."""

    def depth(self, layers):
        return layers + 1

    def prepare(self, model, task, steps):
        from vertune.nn import trainable

        trainable.train_only(model)

    def edits(self, model):
        from vertune.nn import edits

        return edits.head_edits(model)
