"""The way over SSH, to a real sshd with a user of its own, and a real Slurm behind it."""

import os
import pwd
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.slurm.cluster import SlurmCluster
from blocks.slurm.ssh import SshTransport
from blocks.slurm.transport import MayHaveReached
from tests import slurm
from tests.real.test_slurm import spec, until
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
