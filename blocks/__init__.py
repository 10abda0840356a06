"""What we talk to: the state DB, clusters and settings, each a saved, typed Prefect block."""
