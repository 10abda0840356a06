"""Everything on one machine: PostgreSQL, Prefect's server, the settings file, `make run`."""
