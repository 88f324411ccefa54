"""The catalogue as a file, and the configuration values that it names."""
