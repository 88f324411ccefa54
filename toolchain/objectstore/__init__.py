"""A real S3 server on the host for the cluster: SeaweedFS, over HTTPS, outside of the node."""
