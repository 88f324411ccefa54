"""The in-cluster engine, one folder a controller."""
