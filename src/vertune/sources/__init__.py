"""Where records come from: one file for each source."""
