"""The command line. One module per command; each imports what it needs only when it runs."""

from pruner.cli.main import main

__all__ = ["main"]
