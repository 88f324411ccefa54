"""Container images for the local node: made here, imported into its containerd."""
