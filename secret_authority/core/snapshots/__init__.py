"""Snapshots of Vault: what a bundle says of itself, its name, when one is due, and which are still needed."""
