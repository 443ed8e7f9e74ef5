"""Decoders convert the outputs of a model to answers, one module per task; they use only NumPy, so exports can include them unchanged."""
