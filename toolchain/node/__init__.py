"""One real Kubernetes node on a root Linux machine, without Docker.

The node is a sandbox made of namespaces (mount, network, PID, host name, IPC) and one cgroup tree.
Everything that belongs to a node lives inside these two, so ending the first process of the sandbox
ends the node, its pods, its mounts and its network.
"""
