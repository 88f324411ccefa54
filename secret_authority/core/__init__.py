"""The authority domain, pure: no I/O, no Pulumi, no Kubernetes, no Vault."""
