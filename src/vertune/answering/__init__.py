"""Calls for answers: many verticals, batched together, in one process; knows nothing of HTTP."""
