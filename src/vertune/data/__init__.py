"""Turns rows of files or databases into checked datasets, and checks the records that a trained model receives for prediction."""
