"""What the Pulumi program and the in-cluster engine both name, each thing written once."""
