"""The code that all other folders of vertune use: pluggable components, config, files, records, errors. It imports no other folder."""
