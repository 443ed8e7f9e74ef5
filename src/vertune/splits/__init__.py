"""Splits divide records into training, validation and test data; one file per method."""
