"""The steps of making and using a model, such as prepare, train and evaluate: one file and one main function per step.

Steps take and return artifacts (folders with a dataset, a model or a report), report their progress as events, and don't depend on
the command line or on HTTP.
"""
