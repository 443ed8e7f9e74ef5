"""Fine-tuning methods, which decide which weights training changes: one file per method."""
