"""Kustomizations of kustomize, rendered."""
