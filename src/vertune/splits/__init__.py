"""How records are divided: one file a way."""
