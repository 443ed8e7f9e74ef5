"""What everything stands on: part, kinds, config, artifact, records, errors; imports nothing of ours and nothing heavy."""
