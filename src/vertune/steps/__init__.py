"""The steps that a model passes through, such as prepare, train and evaluate: one file and one main function per step.

Steps take and return artifacts, report their progress as events, and don't depend on the command line or on HTTP.
"""
