"""Ways to make additional training rows: one file a way."""
