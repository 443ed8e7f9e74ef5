"""Ways to clean rows before the task checks them: one file for each."""
