"""The REST server, with one file per resource (group of endpoints); does not depend on how models predict or are trained."""
