"""The parts of the side-by-side benchmark; run.py puts them together."""
