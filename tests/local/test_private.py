"""What is this user's alone: made so, closed if it was open, refused if it is another's."""

import os
import stat

import pytest

from local.private import is_private, past_proxies, private_folder, secret
from worksets.errors import ConfigurationError


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_folder_is_made_private_and_an_open_one_is_closed(tmp_path):
    old = os.umask(0)
    try:
        assert mode(private_folder(tmp_path / "a" / "b")) == 0o700
    finally:
        os.umask(old)
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    assert mode(private_folder(tmp_path / "open")) == 0o700


def test_a_folder_of_another_user_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="another user"):
        private_folder(tmp_path, owner=os.geteuid() + 1)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        private_folder(tmp_path / "file")


def test_a_link_or_an_open_folder_is_not_private(tmp_path):
    (tmp_path / "x").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    me = os.geteuid()
    assert is_private(tmp_path / "x", me) and not is_private(tmp_path / "x", me + 1)
    assert not is_private(tmp_path / "link", me) and not is_private(tmp_path / "gone", me)
    (tmp_path / "x").chmod(0o710)
    assert not is_private(tmp_path / "x", me)


def test_a_secret_is_made_once_and_stays(tmp_path):
    text = secret(tmp_path / "password")
    assert len(text) >= 32 and secret(tmp_path / "password") == text
    assert mode(tmp_path / "password") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["password"]


@pytest.mark.parametrize("spoil", ["open", "link", "short", "folder"])
def test_a_secret_that_others_may_know_is_not_used(tmp_path, spoil):
    path = tmp_path / "password"
    if spoil == "link":
        (tmp_path / "theirs").write_text("x" * 40)
        path.symlink_to(tmp_path / "theirs")
    elif spoil == "folder":
        path.mkdir()
    else:
        path.write_text("x" * (40 if spoil == "open" else 3))
        path.chmod(0o644 if spoil == "open" else 0o600)
    with pytest.raises(ConfigurationError, match="delete it"):
        secret(path)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.org"}, "a.org,127.0.0.1,localhost,::1"),
        ({"no_proxy": "localhost, b", "NO_PROXY": "c"}, "localhost,b,127.0.0.1,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_no_proxy_is_asked_for_loopback(given, wanted):
    assert past_proxies(given) == {"NO_PROXY": wanted, "no_proxy": wanted}
