"""Clients of Vault, Kubernetes, Flux artifacts, sops and age."""
