"""Programs that run on a cluster, not in this process; each is a script of its own."""
