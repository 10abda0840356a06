"""What a client of our own server is given."""

import ssl
import time

from local.server import Server, one_authority


def test_a_client_reads_one_authority_and_not_all_of_the_world(tmp_path):
    file = one_authority(tmp_path)
    context = ssl.create_default_context(cafile=str(file))
    assert len(context.get_ca_certs()) == 1
    written = file.stat().st_mtime_ns
    time.sleep(0.02)
    assert one_authority(tmp_path) == file and file.stat().st_mtime_ns == written
    file.write_text("")
    assert ssl.create_default_context(cafile=str(one_authority(tmp_path))), "after a power cut"
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_a_server_of_an_older_release_has_the_file_made(tmp_path):
    (tmp_path / "password").write_text("p" * 32)
    (tmp_path / "password").chmod(0o600)
    given = Server(tmp_path, 4200, 1).environment
    assert ssl.create_default_context(cafile=given["PREFECT_API_SSL_CERT_FILE"])
    assert given["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] == "false"
