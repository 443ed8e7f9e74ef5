"""The steps of a vertical's life: one plain function each."""
