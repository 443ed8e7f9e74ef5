"""Tasks, such as classification: each defines what a model predicts and how predictions are scored. One module per task."""
