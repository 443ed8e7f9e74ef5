"""Apps: one file for each product on served models; independent of how predictions are computed."""
