"""How good answers are and whether a model may replace another; above metrics, below steps."""
