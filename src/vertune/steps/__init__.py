"""The steps of making and using a model, such as prepare, train and evaluate: one file and one main function per step.

A step gets and returns artifacts, which are folders with a dataset, a model or a report. It reports its progress
through a callback. It does not depend on the command line or on HTTP.
"""
