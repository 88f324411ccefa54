"""Charts of a tree and the releases that install them."""
