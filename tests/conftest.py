"""What more than one folder of tests needs."""

import os

import hypothesis
import pytest
from prefect.blocks.core import Block
from prefect.utilities.dispatch import _TYPE_REGISTRIES, get_dispatch_key

from tests import services

# how long an example takes depends on what else runs on the machine
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")

SLOWEST = (
    "test_schedule", "test_recovery", "test_deployments", "test_slurm_poller", "test_chaos",
    "test_neighbours", "test_exactly_once", "test_run", "test_simulation", "test_install",
    "test_slurm", "test_notify", "test_unreachable", "test_dynamodb_fight",
)  # fmt: skip
"""Files that take a minute and more, the longest first."""


def pytest_collection_finish():
    """A block of a test that has our block's slug would be loaded in its place everywhere."""
    registered = _TYPE_REGISTRIES.get(Block, {})
    of_tests = [
        f"{one.__module__}.{one.__qualname__} ({slug})"
        for slug, one in registered.items()
        if one.__module__.startswith("tests.")
        and any(
            slug == get_dispatch_key(base, allow_missing=True)
            for base in one.__mro__[1:]
            if issubclass(base, Block) and base is not Block
        )
    ]
    if of_tests:
        raise pytest.UsageError(f"give these a _block_type_slug of their own: {of_tests}")


def pytest_collection_modifyitems(items):
    """The longest files come first: those that run side by side end together then."""
    order = {f"tests/real/{name}.py": n for n, name in enumerate(SLOWEST)}
    order |= {f"tests/simulation/{name}.py": n for n, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


def pytest_runtest_logreport(report):
    """Write to the file FOR_ROOT, if there is one, what root alone can test: a test a line."""
    if "PYTEST_XDIST_WORKER" in os.environ or services.ROOT_ONLY not in str(report.longrepr):
        return
    if for_root := os.environ.get("FOR_ROOT"):
        with open(for_root, "a") as lines:
            print(report.nodeid, file=lines)


@pytest.fixture(scope="session")
def dynamodb_url(tmp_path_factory):
    with services.dynamodb_local(tmp_path_factory.mktemp("dynamodb") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory):
    with services.moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url
