"""Runs the command line for `python -m vertune`, like the command `vertune`."""

from vertune.cli import main

if __name__ == "__main__":
    main()
