"""One file a step: its Prefect options (retries, time limits, tags) and the few lines of glue."""

from tasks.logs import make_fit

# every process that runs our flows comes by here
make_fit()
