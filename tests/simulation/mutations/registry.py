"""The mutations by name; the modules beside this one fill it."""

from contextlib import ExitStack, contextmanager

MUTATIONS = {}


def mutation(make):
    """Register a function that returns patches, under its name in plain words."""

    @contextmanager
    def broken():
        with ExitStack() as stack:
            for one in make():
                stack.enter_context(one)
            yield

    MUTATIONS[make.__name__.replace("_", "-")] = broken
    return make
