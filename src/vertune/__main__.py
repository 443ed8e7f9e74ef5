"""`python -m vertune`, the same as the command `vertune`."""

from vertune.cli import main

if __name__ == "__main__":
    main()
