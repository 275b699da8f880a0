"""Telling: previews of plans and reports of runs, on the terminal and in files."""
