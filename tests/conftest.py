"""What more than one folder of tests needs."""

import pytest

from tests import services


@pytest.fixture(scope="session")
def dynamodb_url(tmp_path_factory):
    with services.dynamodb_local(tmp_path_factory.mktemp("dynamodb") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory):
    with services.moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url
