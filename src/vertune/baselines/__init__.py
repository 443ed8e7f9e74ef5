"""Simple models (baselines) with which trained models are compared; scikit-learn is imported inside the functions that need it."""
