"""Turns the rows of a file into a checked dataset: column names, cleaning, splits, statistics and storage, one file each."""
