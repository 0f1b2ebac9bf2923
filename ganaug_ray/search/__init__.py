"""Searches: the same stages as trials over a space of settings."""
