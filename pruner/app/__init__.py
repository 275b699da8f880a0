"""The program without its command line: what commands and ``pruner.api`` have in common."""
