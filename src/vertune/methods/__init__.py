"""Fine-tuning methods, which decide what training changes: one file per method."""
