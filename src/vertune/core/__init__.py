"""What all other folders of vertune build on: pluggable components, config, files, records and errors; imports none of those folders."""
