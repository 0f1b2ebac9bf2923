"""Searches for settings on Ray Tune: a space, trials, a ledger that survives anything, a result."""
