"""Which weights move while learning: one file a method."""
