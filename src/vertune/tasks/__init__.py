"""What must be answered: one file a task."""
