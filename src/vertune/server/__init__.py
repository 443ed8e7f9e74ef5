"""REST: one file a resource; knows nothing of how a model answers or learns."""
