"""Makes `python -m vertune` run the same command line as the command `vertune`."""

from vertune.cli import main

if __name__ == "__main__":
    main()
