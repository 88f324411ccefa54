"""A real Git server on the host for the cluster: git http-backend behind lighttpd, over HTTPS."""
