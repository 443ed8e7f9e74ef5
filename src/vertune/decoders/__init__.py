"""From the outputs of a head to answers, one module a task: NumPy alone, so that a portable bundle ships them as they are."""
