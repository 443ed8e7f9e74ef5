"""Splits: components that divide records into training, validation and test records; one module for each way to divide them."""
