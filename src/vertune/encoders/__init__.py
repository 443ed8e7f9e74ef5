"""Encoders, which turn the input fields of a record into vectors with a neural network: one file per encoder."""
