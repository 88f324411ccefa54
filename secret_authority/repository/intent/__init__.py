"""What Git says of one cluster, taken together and checked."""
