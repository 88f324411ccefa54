"""How an operator's machine reaches the cluster and Vault. Not part of the engine's image."""
