"""Readers of bytes from outside, under inputs that nobody would write."""
