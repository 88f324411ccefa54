"""Snapshots of Vault: the identity that takes them."""
