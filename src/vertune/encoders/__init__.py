"""Encoders, which turn the fields of a record into vectors: one file per encoder."""
