"""docs/automations.yaml on a real server: each of the four fires, and what it is for happens."""

import json
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import temporary_settings

from tests.real.test_hands import SERVE
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]
FILE = Path(__file__).parents[2] / "docs" / "automations.yaml"
SOON_S = 10.0
"""The shortest time of a proactive trigger in Prefect."""


@contextmanager
def inbox():
    """A place that notifications are sent to, and what came."""
    came = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", came
    finally:
        server.shutdown()
        server.server_close()


def event(name, about):
    return {
        "id": str(uuid.uuid4()),
        "event": name,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": about, "prefect.resource.name": about},
        "payload": {"message": "said by a test"},
    }


@pytest.fixture
def made(site):
    """Ids of the automations of a test; none fires in another's time."""
    ids = []
    yield ids
    for id_ in ids:
        site.prefect.delete(f"automations/{id_}")


def test_each_automation_fires(site, made):
    site.configure(clusters=1, slots=1, delivery_minutes=0, poll_interval_seconds=600)
    site.add("bad", 1, reads=False)
    with inbox() as (url, came):
        with temporary_settings(updates=site.client_settings()):
            notifier = CustomWebhookNotificationBlock(
                name="inbox", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
            ).save(site.name)
        site.start("-c", SERVE, site.name, "3600")
        api, poll = site.prefect, f"poll_worksets/poll-worksets-{site.name}"
        site.until(lambda: api.deployment(poll), 60)
        text = FILE.read_text(encoding="utf-8").replace("NOTIFIER_ID", str(notifier))
        text = text.replace("POLL_ID", api.deployment(poll)["id"])
        found = yaml.safe_load(text)["automations"]
        assert len(found) == 4
        for automation in found:
            trigger = automation["trigger"]
            trigger["within"] = SOON_S if trigger["posture"] == "Proactive" else 0
            automation["name"] += f" ({site.name})"
            made.append(api.post("automations/", **automation)["id"])
        # of one installation among those that this server has
        cluster = f"cluster.{site.name}-c0"
        time.sleep(3)  # the server's triggers know of them
        api.emit(event("cluster.unreachable", cluster))

        def told(words):
            return any(words in one["subject"] for one in came)

        site.until(lambda: site.states()[State.FAILED] == 1, 60)
        site.add("delivered", 1)
        time.sleep(1.5)
        api.emit(event("workset.delivered", f"delivery.{site.name}"))
        site.until(lambda: site.states()[State.COMPLETE] == 1, 60)
        site.until(lambda: told("No poll has ended well"), 60)
        site.until(lambda: told("A cluster has not answered"), 60)
        # a dead letter after the automations were made
        site.add("worse", 1, reads=False)
        api.emit(event("workset.delivered", f"delivery.{site.name}"))
        site.until(lambda: told("Dead letter: worse"), 60)
        (letter,) = [one for one in came if "worse" in one["subject"]]
        assert "a.fq" in letter["body"]

    def failed():
        said = api.post("events/filter", filter={"event": {"name": ["workset.failed"]}}, limit=50)
        return [e for e in said["events"] if e["resource"]["prefect.resource.name"] == "worse"]

    site.until(failed, 30)  # the server writes events down a few seconds later
    roles = {one["prefect.resource.role"] for one in failed()[0]["related"]}
    assert "flow-run" in roles, "an event carries the run that it came from"
