"""The `secret-authority` command."""
