"""Tiny models, and checks that components such as tasks and sources obey their contract.

They serve to test the components of vertune and of plugins (other packages that add components).
"""
