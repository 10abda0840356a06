"""What more than one folder of tests needs."""

import pytest

from tests import services


@pytest.fixture(scope="session")
def dynamodb_url(tmp_path_factory):
    with services.dynamodb_local(tmp_path_factory.mktemp("dynamodb") / "log") as url:
        yield url
