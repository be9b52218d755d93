"""Lets `python -m swarmharness` do what the `swarmharness` command does."""

from swarmharness.cli import main

if __name__ == "__main__":
    main()
