"""pruner deletes container-image tags in bulk: policies decide, a plan records, the engine carries out."""

__version__ = "0.1.0"
