"""Splits, which divide records into training, validation and test records: one file per split."""
