"""Simple models (baselines) with which trained models are compared.

scikit-learn, an optional dependency, is imported inside the functions that need it.
"""
