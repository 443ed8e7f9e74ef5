"""How the fields of a record become states: one file an encoder."""
