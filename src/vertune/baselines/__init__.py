"""Simple baselines that a model must beat; scikit-learn is imported inside the functions that need it."""
