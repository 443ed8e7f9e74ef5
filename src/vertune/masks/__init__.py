"""Masks: components that find one kind of personal data or secrets in texts; one module per mask."""
