"""The REST server, with one file per resource; does not depend on how models predict or are trained."""
