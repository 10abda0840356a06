"""Sixteen processes fight over 200 worksets on the real DynamoDB Local."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.services import dynamodb_state_db
from worksets.record import State, WorksetRecord

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PROCESSES, WORKSETS = 16, 200
LIMITS = {"global": 6, "cluster:a": 3, "cluster:b": 3, "customer:big": 3, "customer:small": 5}
WORKER = """
import json, os, random, sys, time
from datetime import UTC, datetime
from tests.services import dynamodb_state_db
from worksets.errors import AdmissionRefused, Refused, TransientError
from worksets.record import StepRun

url, table, log, limits = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
db, owner = dynamodb_state_db(url, table), f"p{os.getpid()}"
db.renew_lease(owner, 3600)
journal = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while sum(db.get_queue_depth().values()):
    ready = [r.workset_id for r in db.ready()]
    random.shuffle(ready)
    for id_ in ready[:10]:
        try:
            held = db.lock(id_, owner, random.choice("ab"), "r", limits)
            since = time.monotonic()
            begun = db.begin(id_, held.fence)
            at = datetime.now(UTC)
            line = [id_, owner, since, time.monotonic(), sorted(held.scopes)]
            os.write(journal, (json.dumps(line) + "\\n").encode())
            db.complete(id_, held.fence, tuple(
                StepRun(step=step, attempt=1, cluster_name=begun.cluster_name, exit_code=0,
                        started_at=at, ended_at=at) for step in ("stage", "run", "export")))
        except (AdmissionRefused, Refused, TransientError):
            continue
"""


def test_nothing_is_held_twice_no_limit_is_passed_and_all_get_done(dynamodb_url, tmp_path):
    db, now = dynamodb_state_db(dynamodb_url), datetime.now(UTC)
    for n in range(WORKSETS):
        db.register(
            WorksetRecord(
                workset_id=f"w{n}", customer_id="big" if n % 4 else "small",
                location=f"s3://bucket/w{n}", created_at=now, updated_at=now,
            )
        )  # fmt: skip
    command = [
        sys.executable, "-c", WORKER, dynamodb_url, db.table_name, str(tmp_path / "journal"),
        json.dumps(LIMITS),
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AWS_"))}
    env |= {"PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_HOME": str(tmp_path / "home")}
    with open(tmp_path / "log", "wb") as log:
        workers = [
            subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
            for _ in range(PROCESSES)
        ]
    peak, looks, deadline = Counter(), 0, time.monotonic() + 240
    while any(worker.poll() is None for worker in workers):
        assert time.monotonic() < deadline, (db.get_queue_depth(), db.holders())
        for scope, held in db.holder_counts().items():
            peak[scope] = max(peak[scope], held)
            looks += 1
    assert [worker.returncode for worker in workers] == [0] * PROCESSES, (
        tmp_path / "log"
    ).read_text()[-3000:]
    assert all(peak[scope] <= limit for scope, limit in LIMITS.items()), peak
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert Counter(line[0] for line in lines) == {f"w{n}": 1 for n in range(WORKSETS)}
    assert len({line[1] for line in lines}) >= PROCESSES // 2
    assert looks > 100 and peak["global"] > 1
    # not by what the table says: by when each process held what, by one clock
    changes = [(at, step, line[4]) for line in lines for at, step in ((line[2], 1), (line[3], -1))]
    held = Counter()
    for _, step, scopes in sorted(changes):
        for scope in scopes:
            held[scope] += step
            assert held[scope] <= LIMITS[scope]
    assert all(r.state is State.COMPLETE for r in db._many(f"w{n}" for n in range(WORKSETS)))
    assert db.holders() == db.holder_counts() == {}
