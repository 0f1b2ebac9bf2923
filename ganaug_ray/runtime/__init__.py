"""Ray: the cluster, its preflight checks, groups of workers, and the same work on many things."""
