"""Finds, fetches or builds every external program, and the local node that runs them.

It runs before any virtual environment exists, so it needs Python 3.11 or later and nothing else.
"""
