"""Cleaners: components that drop or edit rows before the task (such as classification) checks them; one module per cleaner."""
