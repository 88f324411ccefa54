"""Files of a repository: read into documents, and changed without touching what people wrote around."""
