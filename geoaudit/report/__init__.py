"""The record as a person reads it: one HTML file, figures, the lines in the terminal.

Reads the JSON record only: no torch, no numpy, no other room but `records` and `errors`.
"""
