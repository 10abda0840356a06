"""One file a step: its Prefect options (retries, time limits, tags) and the few lines of glue."""
