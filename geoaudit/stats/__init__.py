"""Intervals, separation and the bootstrap: pure statistics on counts and arrays."""
