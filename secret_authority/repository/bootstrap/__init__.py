"""The encrypted Secrets of a bootstrap folder."""
