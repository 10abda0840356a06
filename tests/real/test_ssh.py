"""The way over SSH, to a real sshd with a user of its own, and a real Slurm behind it."""

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from blocks.clusters import SlurmCluster
from blocks.clusters.slurm.ssh import SshTransport
from blocks.clusters.slurm.transport import MayHaveReached
from tests import slurm
from tests.real.test_slurm import spec, until
from tests.services import free_port
from tests.sshd import sshd
from worksets.errors import ClusterUnreachable
from worksets.jobs import Phase
from worksets.record import Step

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder():
    """Outside pytest's own folders, which only root may enter."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(folder):
    with sshd(folder / "sshd") as running:
        yield running


@pytest.fixture
def way(server):
    transport = SshTransport(**server.fields, connect_timeout_s=5)
    yield transport
    transport.close()


def connections(server):
    """Connections that sshd has now."""
    log = (server.folder / "sshd.log").read_text()
    return log.count("Accepted publickey")


def test_a_script_runs_there_as_that_user_and_its_words_arrive(way, server):
    hostile = "a b'c\"d;e$(id)|f\\g`h`ü\n"
    way.environment["TEXT"] = hostile
    done = way.run('printf %s "$TEXT"; id -un >&2; exit 7')
    assert (done.returncode, done.stdout, done.stderr) == (7, hostile, f"{server.user}\n")
    assert "PREFECT" not in way.run("env").stdout


def test_one_connection_for_all_questions_of_all_threads(way, server):
    before = connections(server)
    with ThreadPoolExecutor(20) as threads:
        began = time.monotonic()
        done = list(threads.map(lambda n: way.run(f"sleep 0.2; echo {n}"), range(24)))
    assert [int(each.stdout) for each in done] == list(range(24))
    assert time.monotonic() - began < 4.8, "they waited for each other"
    assert connections(server) == before + 1


def test_a_question_costs_little_over_an_open_connection(way):
    way.run("true")
    began = time.monotonic()
    for _ in range(20):
        way.run("true")
    assert (time.monotonic() - began) / 20 < 0.25


def test_long_output_and_a_long_script_come_through_whole(way):
    script = "cat <<'END'\n" + "x" * 400_000 + "\nEND\nseq 200000\n"
    done = way.run(script)
    assert len(done.stdout.splitlines()) == 200_001


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"known_hosts": "[127.0.0.1]:1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3"}, "known_hosts"),
        ({"known_hosts": "/no/such/file"}, "put the key of 127.0.0.1 into known_hosts"),
        ({"key_file": "{folder}/other_key"}, "does not let"),
        ({"key_file": "{folder}/sshd_config"}, "of no use"),
        ({"port": 1}, "is not reached"),
    ],
)
def test_what_keeps_us_out_did_not_reach_and_says_what_to_do(server, fields, says):
    fields = {
        key: value.format(folder=server.folder) if isinstance(value, str) else value
        for key, value in fields.items()
    }
    way = SshTransport(**{**server.fields, **fields}, connect_timeout_s=5)
    with pytest.raises(ClusterUnreachable, match=says):
        way.run("true")


def test_a_host_with_another_key_than_the_known_one_is_never_told_anything(server):
    """The man in the middle: the right name, the wrong key."""
    wrong = (server.folder / "other_key.pub").read_text().split()[:2]
    fields = {**server.fields, "known_hosts": f"[127.0.0.1]:{server.port} {' '.join(wrong)}\n"}
    before = connections(server)
    with pytest.raises(ClusterUnreachable, match="nothing was sent"):
        SshTransport(**fields).run("true")
    assert connections(server) == before


def test_the_key_itself_may_stand_in_the_settings(server):
    key = (server.folder / "user_key").read_text()
    known = (server.folder / "known_hosts").read_text()
    way = SshTransport(
        **{**server.fields, "key_file": "", "known_hosts": known}, private_key=key
    )  # fmt: skip
    assert way.run("echo in").stdout == "in\n"
    assert "PRIVATE" not in repr(way) and "PRIVATE" not in way.model_dump_json()
    way.close()


def test_keys_of_the_agent_are_used_where_the_settings_say_so(server, folder, monkeypatch):
    socket = folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        began = time.monotonic()
        while not socket.exists():
            assert time.monotonic() - began < 10
            time.sleep(0.05)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(server.folder / "user_key")], check=True)
        fields = {**server.fields, "key_file": ""}
        with pytest.raises(ClusterUnreachable, match="does not let"):
            SshTransport(**fields).run("true")
        way = SshTransport(**fields, use_agent=True)
        assert way.run("echo in").stdout == "in\n"
        way.close()
    finally:
        agent.terminate()
        agent.wait(10)


def test_through_a_jump_host(server):
    before = connections(server)
    way = SshTransport(**server.fields, jump=server.fields)
    assert way.run("echo in").stdout == "in\n"
    assert connections(server) == before + 2
    way.close()


def test_a_connection_that_broke_is_opened_again_and_a_script_on_its_way_may_have_reached(
    way, server, folder
):
    assert way.run("echo one").stdout == "one\n"
    marks = folder / "marks"
    marks.mkdir(mode=0o777)
    marks.chmod(0o777)

    def cut():
        while not (marks / "begun").exists():
            time.sleep(0.02)
        server.stop()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(MayHaveReached, match="broke"):
        way.run(f"touch {marks}/begun; sleep 20")
    cutter.join()
    with pytest.raises(ClusterUnreachable, match="not reached"):
        way.run("true")
    server.start()
    assert way.run("echo two").stdout == "two\n"


def test_a_connection_that_has_grown_old_is_made_anew_but_not_under_a_script(
    way, server, monkeypatch
):
    """A key that was withdrawn opens nothing any more, though a connection is kept."""
    assert way.run("echo one").stdout == "one\n"
    before = connections(server)
    monkeypatch.setattr("blocks.clusters.slurm.ssh.OLD_S", 0)
    with ThreadPoolExecutor(1) as threads:
        # made anew for the first, and kept while that one runs
        slow = threads.submit(way.run, "sleep 1; echo slow")
        time.sleep(0.5)
        assert way.run("echo two").stdout == "two\n"
        assert slow.result().stdout == "slow\n"
    assert connections(server) == before + 1
    assert way.run("echo three").stdout == "three\n"
    assert connections(server) == before + 2


def test_no_answer_in_time_may_have_reached(way):
    with pytest.raises(MayHaveReached, match=r"no answer for 0\.5 s"):
        way.run("sleep 20", timeout_s=0.5)
    assert way.run("echo again").stdout == "again\n"


def test_worksets_jobs_on_a_slurm_cluster_behind_ssh(server, folder):
    """Submit, watch, read the log, cancel: all as the other user, over the one connection."""
    account = pwd.getpwnam(server.user)
    work = folder / "work"
    work.mkdir()
    os.chown(work, account.pw_uid, account.pw_gid)
    (folder / "slurm").mkdir()
    with slurm.clusters(folder / "slurm", "c") as (real,):
        cluster = SlurmCluster(
            cluster_name="c",
            work_folder=str(work / "it's $HOME"),
            memory_gb_per_workset=0.1,
            transport={
                "kind": "ssh",
                **server.fields,
                "environment": {"SLURM_CONF": str(real.conf)},
            },
        )
        before = connections(server)
        assert cluster.capacity() == 64
        cluster.submit(spec("w", 1, ("run", ("id", "-un"))))
        cluster.submit(spec("long", 1, ("run", ("sleep", "600"))))
        assert until(cluster, "w.a1").failed_step is None
        assert cluster.log_tail("w.a1", Step.RUN) == server.user
        until(cluster, "long.a1", lambda status: status.phase is Phase.RUNNING)
        cluster.cancel("long.a1")
        assert until(cluster, "long.a1").phase in (Phase.VANISHED, Phase.ENDED)
        assert connections(server) == before + 1
        cluster.close()


def test_no_session_is_aborted_for_one_that_sshd_does_not_let_in(folder):
    """C8: MaxSessions 2, and six questions at once."""
    with sshd(folder / "few", more="MaxSessions 2") as few:
        way = SshTransport(**few.fields, connect_timeout_s=5)
        try:
            with ThreadPoolExecutor(6) as threads:
                answers = list(threads.map(lambda n: way.run(f"sleep 1; echo {n}"), range(6)))
            assert [answer.stdout.strip() for answer in answers] == list("012345")
            assert connections(few) == 1
        finally:
            way.close()


def test_a_jump_host_keeps_no_connection_whose_second_hop_fails(folder, server):
    """C10."""
    with sshd(folder / "gate") as gate:
        far = {**server.fields, "port": free_port(), "known_hosts": server.fields["known_hosts"]}
        way = SshTransport(**far, jump=gate.fields, connect_timeout_s=5)
        for _ in range(4):
            with pytest.raises(ClusterUnreachable):
                way.run("true")
        time.sleep(1)
        children = psutil.Process(gate.process.pid).children(recursive=True)
        assert len(children) <= 2, "one connection at most, of the last try"
        way.close()
        deadline = time.monotonic() + 10
        while psutil.Process(gate.process.pid).children(recursive=True):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_banner_of_the_login_is_no_part_of_what_a_cluster_says(folder):
    """C7: a quota banner decided the diagnosis, and `steps …` was taken for a marker."""
    banner = "echo 'steps will be taken'; echo 'Disk quota: 90 % used' >&2"
    more = f'ForceCommand {banner}; eval "$SSH_ORIGINAL_COMMAND"'
    with sshd(folder / "loud", more=more) as loud:
        way = SshTransport(**loud.fields, connect_timeout_s=5)
        assert "steps will" in way.run("true").stdout
        cluster = SlurmCluster(cluster_name="a", work_folder="/nowhere", transport=way)
        try:
            assert cluster._ask("asking", "echo hi") == "hi\n"
            done = cluster._run("echo no >&2; exit 9")
            assert (done.returncode, done.stdout, done.stderr) == (9, "", "no\n")
        finally:
            cluster.close()


@pytest.mark.parametrize("inline", [False, True])
def test_a_key_with_a_passphrase_opens_the_way(server, folder, inline):
    """C9."""
    key = folder / f"locked-{inline}"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(key)], check=True
    )
    allowed = server.folder / "authorized_keys"
    allowed.write_text(allowed.read_text() + key.with_suffix(".pub").read_text())
    own = {"key_file": "", "private_key": key.read_text()} if inline else {"key_file": str(key)}
    fields = {**server.fields, **own}
    way = SshTransport(**fields, passphrase="open sesame", connect_timeout_s=5)
    try:
        assert way.run("echo hi").stdout == "hi\n"
    finally:
        way.close()
    locked = SshTransport(**fields, passphrase="wrong", connect_timeout_s=5)
    with pytest.raises(ClusterUnreachable, match="the key for"):
        locked.run("true")


def test_the_file_of_known_hosts_may_have_spaces_in_its_path(server, folder):
    known = folder / "our known hosts"
    shutil.copy(server.folder / "known_hosts", known)
    way = SshTransport(**{**server.fields, "known_hosts": str(known)}, connect_timeout_s=5)
    try:
        assert way.run("echo hi").stdout == "hi\n"
    finally:
        way.close()
