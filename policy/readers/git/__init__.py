"""Reads a Git tree as its clusters would see it. `tree.read_tree` is the way in."""
