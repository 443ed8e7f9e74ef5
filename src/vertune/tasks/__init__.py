"""The tasks: what a model predicts, and how its predictions are scored. One file per task."""
