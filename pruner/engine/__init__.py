"""Carrying a plan out: workers, pacing, retries, journal."""
