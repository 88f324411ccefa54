"""Files of a tree: which there are, which repository they are of, and their documents."""
