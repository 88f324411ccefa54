"""Snapshots of Vault: taken as an identity that can do nothing else, and verified by restoring them."""
