"""Ray: the cluster, its preflight checks, groups of workers, and calling a function on many items in parallel."""
