"""Searches for settings on Ray Tune: a space, trials, a log of trials that survives crashes, a result."""
