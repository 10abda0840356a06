"""The command line as an operator uses it: a settings file, a state DB, and no server.

Every command runs with `--json` as well: programs read the same as people.
"""

import json
import os
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from cli import main as program
from cli.looking import added
from cli.site import open_site
from worksets.capacity import ClusterView
from worksets.errors import ErrorCategory
from worksets.events import Fail
from worksets.jobs import job_name
from worksets.record import State, Step, StepRun, Took
from worksets.usage import summed
from worksets.used import Used

SETTINGS = """
state_db: {type: sqlite, path: state.db}
worksets: [incoming]
results: results
customers:
  acme: {}
  borealis: {}
clusters:
  - {type: local-cluster, cluster_name: a, max_concurrent_worksets: 1, work_folder: work/a,
     price_per_vcpu_hour: 0.5}
pipelines:
  germline:
    run: ["{python}", x.py]
    vcpu_hours_base: 2
"""
SPEC = """
customer_id: acme
reference_genome: hg38
samples:
  - {sample_id: S1, fastq_r1: S1.fastq.gz}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKSETS_SETTINGS", "settings.yaml")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    Path("settings.yaml").write_text(SETTINGS)
    for name in ("w1", "w2"):
        delivered(name)
    return tmp_path


def delivered(name, spec=SPEC):
    place = Path("incoming") / name
    place.mkdir(parents=True)
    (place / "S1.fastq.gz").write_bytes(b"reads")
    os.utime(place / "S1.fastq.gz", (0, 0))  # it has been at rest for long
    (place / "daylily_work.yaml").write_text(spec)
    return place


@pytest.fixture
def worksets(folder, capsys):
    """Run a command; its exit code, and what it printed: parsed where it is JSON."""

    def run(*argv):
        code = program.main([*argv])
        out, err = capsys.readouterr()
        return code, (json.loads(out) if "--json" in argv and out else out), err

    return run


@pytest.fixture
def site(worksets):
    assert worksets("register", "incoming/w1", "incoming/w2")[0] == 0
    return open_site("settings.yaml")


def hold(site, id_="w1", owner="p"):
    """Let a process hold a workset, with a job that runs."""
    site.db.renew_lease(owner)
    record = site.db.lock(id_, owner, "a", "because", {})
    return site.db.begin(id_, record.fence)


def fail(site, id_="w1", category=ErrorCategory.PERMANENT):
    return site.db._transition(id_, Fail(category, "it broke", "run", job_ended=True))


def complete(site, id_="w1"):
    """Let a workset end well, after three hours; when that began."""
    record, at = hold(site, id_), site.db.now()
    runs = tuple(
        StepRun(step=step, attempt=1, cluster_name="a", exit_code=0, started_at=at,
                ended_at=at + timedelta(hours=1))
        for step in Step
    )  # fmt: skip
    site.db.complete(id_, record.fence, runs)
    return at


def test_register_takes_what_lies_directly_below_a_watched_place_and_says_why_not(worksets):
    code, told, _ = worksets("register", "incoming/w1", "--json")
    assert code == 0 and told[0]["workset"] == "w1"
    code, told, _ = worksets("register", "incoming/w1", "--json")
    assert code == 0 and "is known already, and is ready" in told[0]["told"]
    Path("link").symlink_to("incoming/w2")
    Path("incoming/link").symlink_to("w2")
    Path("incoming/empty").mkdir()
    delivered("not a name")
    for other, why in {
        "incoming/nowhere": "is no folder",
        "link": "is a link",
        "incoming/link": "is a link",
        "incoming/empty": "daylily_work.yaml is not there",
        "incoming/not a name": "is no name of a workset",
        "incoming": "does not lie directly below a watched place",
        "s3://bucket/w9": "does not lie below a watched place",
    }.items():
        code, _out, err = worksets("register", other)
        assert code == 1 and why in err, other


def test_status_shows_what_is_unfinished_and_one_workset_whole(worksets, site):
    hold(site)
    code, out, _ = worksets("status")
    assert code == 0 and "w1" in out and "1 ready, 1 in_progress" in out
    code, told, _ = worksets("status", "--json")
    assert told["by_state"] == {"in_progress": 1, "ready": 1}
    assert [one["workset"] for one in told["worksets"]] == ["w1", "w2"]
    code, out, _ = worksets("status", "w1")
    assert "held by" in out and "Begin" in out and "file://" in out
    code, told, _ = worksets("status", "w1", "--json")
    assert told[0]["lock_owner"] == "p" and told[0]["attempt"] == 1
    code, _, err = worksets("status", "w9")
    assert code == 2 and "w9" in err


def test_queue_says_why_and_when_and_for_how_much(worksets, site):
    hold(site)
    site.db.drain("b", "another cluster")
    code, told, _ = worksets("queue", "--json")
    (row,) = told["queue"]
    assert row["workset"] == "w2" and row["why"] == "waits: cluster a at 1 of 1"
    assert row["usd"] == 1.0 and row["cluster"] == "a"
    began = site.db.get("w1").history[-1].at
    assert row["starts"] == (began + timedelta(hours=2)).isoformat(timespec="seconds")
    assert told["depth"]["oldest"] == "w2"
    code, out, _ = worksets("queue")
    assert code == 0 and "waits: cluster a at 1 of 1" in out


def test_a_drained_cluster_takes_nothing_and_resumes(worksets, site):
    code, told, _ = worksets("drain", "a", "--reason", "new disks", "--json")
    assert code == 0 and told["drained"] is True
    (row,) = worksets("clusters", "--json")[1]
    assert (row["takes"], row["why"]) == ("no", "drained: new disks")
    assert "drained: new disks" in worksets("queue")[1]
    assert worksets("drain", "a", "--resume")[0] == 0
    (row,) = worksets("clusters", "--ask", "--json")[1]
    assert (row["takes"], row["room"]) == ("yes", "no bound of its own")
    code, _, err = worksets("drain", "nope")
    assert code == 2 and "there is no cluster 'nope'" in err


def test_cancel_says_whether_it_is_or_will_be(worksets, site):
    hold(site)
    code, told, _ = worksets("cancel", "w1", "w2", "w9", "--reason", "wrong sample", "--json")
    assert code == 1
    assert [one["done"] for one in told] == [True, True, False]
    assert told[0]["told"] == "is cancelled when its job on a has ended"
    assert site.db.get("w1").cancel_requested == "wrong sample"
    assert site.db.get("w2").state is State.CANCELLED


def test_retry_brings_back_what_ended_and_leaves_alone_what_runs(worksets, site):
    fail(site, "w2")
    hold(site)
    code, told, _err = worksets("retry", "w2", "w1", "--json")
    assert code == 1
    assert told[0]["state"] == "ready" and "goes on after its finished steps" in told[0]["told"]
    assert not told[1]["done"] and "is being processed already" in told[1]["told"]
    assert site.db.get("w1").state is State.IN_PROGRESS


def test_retry_from_the_start_begins_what_is_complete_anew(worksets, site):
    complete(site, "w1")
    before = site.db.get("w1")
    assert worksets("retry", "w1")[0] == 1 and site.db.get("w1") == before
    code, told, _ = worksets("retry", "w1", "--from-start", "-m", "other reads", "--json")
    after = site.db.get("w1")
    assert code == 0 and "begins anew" in told[0]["told"] and after.state is State.READY
    assert after.uid != before.uid and after.completed_steps == ()
    assert "other reads" in after.history[-1].note
    code, _, err = worksets("retry", "w1", "--from-start")
    assert code == 1 and "has not ended; cancel it first" in err


def test_affinity_names_a_cluster_that_there_is(worksets, site):
    code, told, _ = worksets("affinity", "a", "w1", "--required", "-b", "data_locality", "--json")
    record = site.db.get("w1")
    assert code == 0 and told[0]["told"] == "must run on a"
    assert (record.preferred_cluster, record.cluster_required) == ("a", True)
    assert worksets("affinity", "nowhere", "w2")[0] == 1
    assert site.db.get("w2").preferred_cluster == ""


def test_ignore_and_restore(worksets, site):
    assert worksets("ignore", "w1", "-m", "a duplicate")[0] == 0
    assert site.db.get("w1").state is State.IGNORED
    assert worksets("restore", "w1", "--json")[1][0]["state"] == "ready"
    assert worksets("restore", "w1")[0] == 1


def test_another_writer_is_waited_for_as_long_as_the_settings_say(worksets, site):
    for seconds, code in ((0.3, 1), (30, 0)):
        waits = f"{{type: sqlite, path: state.db, busy_timeout_s: {seconds}}}"
        text = SETTINGS.replace("{type: sqlite, path: state.db}", waits)
        Path("settings.yaml").write_text(text)
        other = sqlite3.connect("state.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        ends = threading.Timer(2, other.execute, ["ROLLBACK"])
        ends.start()
        got, _, err = worksets("priority", "urgent", "w1")
        ends.join()
        other.close()
        assert got == code, err
    assert site.db.get("w1").priority == "urgent"


def test_priority_stands_before_the_file(worksets, site):
    code, told, _ = worksets("priority", "urgent", "w1", "--json")
    assert code == 0 and told[0]["told"] == "is urgent now"
    assert site.db.get("w1").priority == "urgent"
    code, _, err = worksets("priority", "soon", "w1")
    assert code == 2 and "urgent" in err


def test_redrive_needs_a_choice_lists_and_brings_back(worksets, site):
    fail(site, "w1", ErrorCategory.DATA)
    fail(site, "w2")
    assert worksets("redrive")[0] == 2
    code, told, _ = worksets("redrive", "--dry-run", "--json")
    assert code == 0 and {one["workset"] for one in told["dead_letters"]} == {"w1", "w2"}
    assert site.db.get("w1").state is State.FAILED
    code, told, _ = worksets("redrive", "--class", "data", "--json")
    assert [one["workset"] for one in told["dead_letters"]] == ["w1"]
    assert site.db.get("w1").state is State.READY and site.db.get("w2").state is State.FAILED
    code, _out, err = worksets("redrive", "w2", "w9")
    assert code == 1 and "w9 is no dead letter" in err
    assert site.db.get("w2").state is State.READY


def test_lost_needs_a_reason_and_one_of_two(worksets, site):
    hold(site)
    assert worksets("lost", "w1")[0] == 2
    assert worksets("lost", "--reason", "burnt")[0] == 2
    code, told, _ = worksets("lost", "--cluster", "a", "--reason", "burnt", "--json")
    assert code == 0 and told == [{"workset": "w1", "state": "ready"}]


def test_locks_show_who_is_alive_and_are_taken_away_with_a_reason(worksets, site):
    hold(site)
    (row,) = worksets("locks", "--json")[1]
    assert (row["workset"], row["owner"], row["holder"]) == ("w1", "p", "alive")
    site.db.drop_lease("p")
    assert "gone" in worksets("locks")[1]
    code, _, err = worksets("locks", "--release", "w1")
    assert code == 2 and "--reason" in err
    code, told, _ = worksets("locks", "--release", "w1", "--reason", "hung", "--json")
    assert code == 0 and told["state"] == "ready"


def test_logs_show_the_last_step_that_has_begun(worksets, site):
    code, _, err = worksets("logs", "w1")
    assert code == 2 and "has had no job yet" in err
    record = hold(site)
    job = Path(site.cluster("a").job_dir(record.job_name))
    job.mkdir(parents=True)
    (job / "stage.log").write_text("staged\n")
    assert worksets("logs", "w1", "--json")[1]["step"] == "stage"
    (job / "run.log").write_text("working \x1b[31mred\n")
    code, told, _ = worksets("logs", "w1", "--json")
    assert (told["step"], told["log"].strip()) == ("run", "working red")
    assert "staged" in worksets("logs", "w1", "--step", "stage")[1]


def test_logs_follow_until_the_job_is_nobodys(worksets, site, monkeypatch):
    record = hold(site)
    job = Path(site.cluster("a").job_dir(record.job_name))
    job.mkdir(parents=True)
    (job / "run.log").write_text("one\n")

    def passes(_seconds):
        with (job / "run.log").open("a") as log:
            log.write("two\n")
        if site.db.get("w1").state is State.IN_PROGRESS:
            fail(site)

    monkeypatch.setattr("cli.looking.time.sleep", passes)
    code, out, _ = worksets("logs", "w1", "--follow")
    assert code == 0 and out.split()[-3:] == ["one", "two", "two"]


@pytest.mark.parametrize(
    ("before", "after", "more"),
    [("", "a", "a"), ("a\n", "a\nb\n", "b\n"), ("xyz", "yzw", "yzw"), ("a" * 2000, "a" * 2000, "")],
)
def test_what_is_added_to_a_log(before, after, more):
    assert added(before, after) == more


def test_status_of_one_says_each_thing_by_its_name(worksets, site):
    complete(site)
    out = worksets("status", "w1")[1]
    said = dict(
        (part.strip() for part in row.split("  ", 1))
        for row in (row.strip() for row in out.splitlines())
        if "  " in row and ":" not in row.partition("  ")[0]
    )
    assert said["state"] == "complete" and said["customer"] == "acme" and said["attempt"] == "1"
    assert said["priority"] == "normal" and said["cluster"] == "a" and said["retries"] == "0 of 3"
    assert said["folder"].endswith("incoming/w1") and said["job"].startswith("w1.")
    assert [said[step].partition(",")[0] for step in ("stage", "run", "export")] == ["ok"] * 3
    assert said["why"] == "because"


def test_usage_sums_hours_and_dollars(worksets, site):
    assert worksets("usage")[1].strip() == "nothing was used"
    at = complete(site)
    _code, told, _ = worksets("usage", "--json")
    assert told[0] == {"customer": "acme", "worksets": 1, "attempts": 1, "failed_runs": 0,
                       "jobs": 1, "hours": 3.0, "vcpu_hours": 3.0, "cpu_hours": None, "busy": None,
                       "peak_gb": None, "usd": 1.5, "told_by": "markers"}  # fmt: skip
    assert told[1]["customer"] == "all" and told[1]["usd"] == 1.5
    _code, out, _ = worksets("usage", "--by", "cluster", "--csv")
    assert out.splitlines()[1] == "a,1,1,0,1,3.0,3.0,,,,1.5,markers"
    tomorrow = (at + timedelta(days=1)).isoformat()
    assert worksets("usage", "--from", tomorrow, "--json")[1] == []
    assert worksets("usage", "--to", tomorrow, "--json")[1] == told
    # without a time zone it is UTC
    end = at + timedelta(hours=1)
    for plain in (end.replace(tzinfo=None), end):
        asked = (plain - timedelta(seconds=1)).isoformat(timespec="seconds")
        assert worksets("usage", "--from", asked[:19], "--json")[1] == told
        asked = (plain + timedelta(seconds=1)).isoformat(timespec="seconds")
        assert worksets("usage", "--from", asked[:19], "--json")[1] == []


def test_usage_counts_a_cluster_that_left_the_settings(site):
    at = site.db.now()
    run = StepRun(step=Step.RUN, attempt=1, cluster_name="old", exit_code=1, started_at=at,
                  ended_at=at + timedelta(hours=2))  # fmt: skip
    record = site.db.get("w1").model_copy(update={"step_runs": (run,)})
    (row, _) = summed([record], {"a": ClusterView(name="a", max_concurrent_worksets=1)}, "cluster")
    assert (row["cluster"], row["hours"], row["usd"], row["failed_runs"]) == ("old", 2.0, 0.0, 1)
    assert row["vcpu_hours"] == 2.0


def test_usage_counts_what_the_clusters_accounting_says_and_what_never_ended_a_step(site):
    at = site.db.now()
    run = StepRun(step=Step.RUN, attempt=1, cluster_name="a", exit_code=0, started_at=at,
                  ended_at=at + timedelta(hours=2), took=Took(cpu_s=1800, peak_gb=2))  # fmt: skip
    record = site.db.get("w1").model_copy(update={"step_runs": (run,), "attempt": 2})
    view = ClusterView(name="a", max_concurrent_worksets=1, vcpus_per_workset=4,
                       price_per_vcpu_hour=0.5)  # fmt: skip
    (row, _) = summed([record], {"a": view}, "cluster")
    assert (row["vcpu_hours"], row["cpu_hours"], row["busy"], row["peak_gb"], row["usd"]) == (
        8.0, 0.5, "6%", 2.0, 4.0,
    )  # fmt: skip
    said = {job_name(record.home, 1): Used(5, 40.0, 30.0, 7.5),
            job_name(record.home, 2): Used(1, 2.0), "another.i-x.a1": Used(1, 99.0),
            job_name(record.home, 3): Used(1, 99.0)}  # fmt: skip
    (row, _) = summed([record], {"a": view}, "cluster", accounts={"a": said})
    assert (row["attempts"], row["jobs"], row["vcpu_hours"], row["usd"]) == (2, 6, 42.0, 21.0)
    assert (row["cpu_hours"], row["busy"], row["peak_gb"]) == (30.0, "71%", 7.5)
    assert row["told_by"] == "accounting" and row["hours"] == 2.0


def test_check_a_workset_a_file_and_settings(worksets):
    code, told, _ = worksets("check", "incoming/w1", "--json")
    assert code == 0 and told["kind"] == "workset" and told["told"] == "1 sample, germline on hg38"
    Path("incoming/w1/S1.fastq.gz").unlink()
    code, _, err = worksets("check", "incoming/w1")
    assert code == 1 and "S1.fastq.gz is not in" in err
    assert worksets("check", "incoming/w1", "--no-files")[0] == 0
    Path("mine.yaml").write_text(SPEC.replace("hg38", "hg99"))
    code, out, err = worksets("check", "mine.yaml", "--no-files")
    assert code == 0 and "whether there is a reference genome hg99" in out + err
    code, _, err = worksets("check", "mine.yaml", "--no-files", "--settings", "settings.yaml")
    assert code == 1 and "hg99 is unknown; write one of" in err
    delivered("w3", SPEC.replace("acme", "stranger"))
    assert worksets("check", "incoming/w3", "--settings", "settings.yaml")[0] == 1
    code, told, _ = worksets("check", "settings.yaml", "--json")
    assert code == 0 and told["told"] == "1 cluster, 2 customers, 1 pipeline"
    Path("bad.yaml").write_text(SETTINGS.replace("max_concurrent_worksets", "max_worksets"))
    code, told, _ = worksets("check", "bad.yaml", "--json")
    assert code == 1 and not told["right"] and "bad.yaml" in told["mistakes"][0]
    Path("none.yaml").write_text(SETTINGS.replace("worksets: [incoming]", "worksets: []"))
    code, out, _ = worksets("check", "none.yaml")
    assert code == 0 and "`worksets` names no place" in out


def test_new_writes_lawful_files_and_none_over_another(worksets):
    code, told, _ = worksets("new", "workset", "incoming/w9", "--json")
    assert code == 0 and told["written"] == "incoming/w9/daylily_work.yaml"
    assert worksets("check", "incoming/w9", "--no-files")[0] == 0
    assert worksets("new", "workset", "incoming/w9")[0] == 2
    assert worksets("new", "settings", "other.yaml")[0] == 0
    assert worksets("check", "other.yaml")[1].strip() == (
        "other.yaml: right: 1 cluster, 1 customer, 1 pipeline"
    )
    assert worksets("new", "poem")[0] == 2


def test_doctor_finds_what_is_not_well(worksets, site):
    site.db.renew_lease("p")
    code, told, _ = worksets("doctor", "--json")
    assert code == 0, [one for one in told if not one["well"]]
    site.db.drop_lease("p")
    site.db.drain("a", "new disks")
    fail(site)
    Path("incoming/bad").symlink_to("w2")
    code, told, _ = worksets("doctor", "--json")
    bad = {one["what"] for one in told if not one["well"]}
    assert code == 1
    assert bad == {
        "pollers",
        "cluster a",
        "dead letters",
        "place " + str(Path("incoming").resolve()),
    }
    assert all(one["remedy"] for one in told if not one["well"])
    code, out, _ = worksets("doctor")
    assert "→ worksets drain a --resume" in out


@pytest.fixture
def slurm(folder):
    """A Slurm cluster whose nodes a stand-in for sinfo describes."""
    nodes = "n1|64000|idle|0/16/0/16|main|1:00:00|0|(null)|up"
    said = {"sinfo": f"echo '{nodes}'", "squeue": "", "scontrol": "echo Partition mian not found"}
    for name, text in said.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    block = f"""  - {{type: slurm-cluster, cluster_name: s, work_folder: {folder}/s,
     memory_gb_per_workset: 65, max_concurrent_worksets: 9,
     partitions: [{{name: main}}, {{name: mian}}],
     transport: {{environment: {{PATH: "{folder}:/usr/bin:/bin"}}}}}}
pipelines:"""
    text = Path("settings.yaml").read_text()
    return Path("settings.yaml").write_text(text.replace("pipelines:", block))


def test_doctor_tells_of_a_partition_that_is_not_there_while_another_does_the_work(
    slurm, worksets, site
):
    _, told, _ = worksets("doctor", "--json")
    found = [one["told"] for one in told if one["what"] == "cluster s" and not one["well"]]
    assert "65 GB a workset: of pipelines that say nothing it takes no workset" in found[0]
    assert found[1] == "has no partition mian: correct partition"


def test_the_queue_asks_a_cluster_what_its_nodes_have(slurm, worksets, site, monkeypatch):
    """Without it whatever fits nowhere would be said to start at once."""
    worksets("drain", "a", "--reason", "new disks")

    def why():
        return worksets("queue", "--json")[1]["queue"][0]["why"]

    assert why() == "waits: a: drained: new disks"
    text = Path("settings.yaml").read_text()
    Path("settings.yaml").write_text(text.replace("memory_gb_per_workset: 65", "region: ''"))
    assert why().startswith("starts: s: ")
    monkeypatch.setattr("cli.site.ANSWER_S", 0.2)
    Path("sinfo").write_text("#!/bin/sh\nsleep 3\n")
    assert "s: it has not said yet what its nodes have" in why()


def test_a_spent_budget_is_said_by_the_queue_and_by_doctor(worksets, site):
    text = Path("settings.yaml").read_text()
    Path("settings.yaml").write_text(text.replace("acme: {}", "acme: {budget_usd_per_month: 10}"))
    month = f"{site.db.now():%Y-%m}"

    def told():
        rows = worksets("queue", "--json")[1]["queue"]
        [doctor] = [
            one for one in worksets("doctor", "--json")[1] if one["what"].startswith("budget")
        ]
        assert doctor["what"] == "budget of acme"
        return [row["why"] for row in rows], doctor["well"]

    whys, well = told()
    assert well and not any("budget" in why for why in whys)
    site.db.add_spent(month, "acme", "w0.a1", 10.5)
    whys, well = told()
    spent = f"waits: acme: $10.50 of $10.00 for {month} are spent"
    assert not well and all(why.startswith(spent) for why in whys)


def test_no_state_db_is_made_by_looking(worksets):
    code, _, err = worksets("status")
    assert code == 2 and "there is no state DB at" in err
    assert not Path("state.db").exists()


def test_a_state_db_in_a_file_has_no_table(worksets):
    code, told, _ = worksets("create-table", "--json")
    assert code == 0 and told == {"made": False, "told": "is a file: nothing is to be made"}
    assert "the state DB is a file" in worksets("create-table")[1]
    assert not Path("state.db").exists()


def test_without_settings_it_says_how_to_name_them(worksets, monkeypatch):
    monkeypatch.delenv("WORKSETS_SETTINGS")
    code, _, err = worksets("status")
    assert code == 2 and "--settings FILE" in err


def test_wrong_use_ends_with_two_and_one_line(worksets):
    for argv in (["frobnicate"], ["status", "--jsn"], ["cancel"], ["run", "-s", "block-name"]):
        code, _out, err = worksets(*argv)
        assert code == 2 and err.startswith("error: "), argv


def test_what_strangers_wrote_is_never_obeyed_by_the_terminal(worksets, site):
    site.db.cancel("w1", "\x1b[2Jgone [red]x[/red]")
    out = worksets("status", "w1")[1]
    assert "\x1b" not in out and "[red]x[/red]" in out
