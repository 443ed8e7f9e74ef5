"""Trains models; one training loop serves all tasks and all fine-tuning methods."""
