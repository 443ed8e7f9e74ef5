"""The foundation of vertune: parts, kinds, config, artifacts, records, errors; imports no other folder and no heavy package."""
