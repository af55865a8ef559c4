"""Edits of the residual stream. What they are is here; where they apply is said where hooks are placed."""
