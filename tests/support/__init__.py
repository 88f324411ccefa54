"""What several rooms of tests share: stacks, nodes, ways to Vault, the search for leaks."""
