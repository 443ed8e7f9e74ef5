"""Ways to make more training rows: one file for each."""
