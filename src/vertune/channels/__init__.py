"""Channels: one file for each way on which people are told of alerts; independent of monitors and rules."""
