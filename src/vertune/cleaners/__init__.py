"""Cleaners, which drop or edit rows before the task checks them: one file per cleaner."""
