"""A checkpoint and what can be read from it."""
