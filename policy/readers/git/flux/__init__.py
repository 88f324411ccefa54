"""Flux: Kustomizations, sources, substitution, and ResourceSets of its operator."""
