"""Turns the rows of a file into a checked dataset; one module each for column names, cleaning and splits, statistics, and storage."""
