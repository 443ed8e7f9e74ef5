"""The steps that a model passes through, such as prepare, train and evaluate: one file and one main function per step."""
