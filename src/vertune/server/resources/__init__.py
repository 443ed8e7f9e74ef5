"""REST: one file a resource, found by this folder; a resource knows nothing of how a model answers."""
