"""The chaos suite: the real program under the faults of the matrix in ``rows.py``."""
