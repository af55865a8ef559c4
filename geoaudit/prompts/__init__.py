"""Prompt sets: the built-in ones, the public benchmarks, and files of the user's."""
