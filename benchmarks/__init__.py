"""What pruner costs, against what it could cost: see README.md here. Run ``python -m benchmarks``."""
