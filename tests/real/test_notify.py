"""A poller tells Linear, which is slow, and Slack, which is not there; its worksets do not wait."""

import time
import uuid

import pytest
from prefect.blocks.notifications import SlackWebhook
from prefect.settings import temporary_settings

from blocks.notify import LinearTeam
from tests.linear import KEY, linear
from tests.services import free_port
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]


def save(site, linear_url, slack_url):
    with temporary_settings(updates=site.client_settings()):
        LinearTeam(api_key=KEY, team_id=uuid.UUID(int=7), url=linear_url).save(site.name)
        SlackWebhook(url=slack_url).save(site.name)


def test_one_issue_for_a_dead_letter_and_nobody_waits_for_linear(site):
    fail = {"stage": ["true"], "run": ["sh", "-c", "exit 65"], "export": ["true"]}
    site.configure()
    for n in range(3):
        site.add(f"bad-{n}", 1)
    with linear() as server:
        server.slow_s = 2
        slack = f"http://127.0.0.1:{free_port()}/services/a/b/c"
        save(site, server.url, slack)
        names = [f"linear-team/{site.name}", f"slack-webhook/{site.name}", "sns-topic/not-saved"]
        site.configure(overrides={"pipelines": {"sleep-1": fail}, "notifiers": names})
        poller = site.poller()
        site.until(lambda: site.states()[State.FAILED] == 3)
        ended = time.monotonic()
        told = site.finish(poller)
        assert time.monotonic() - ended < 25, "the end of the process waits a few seconds at most"
        assert 1 <= len(server.issues) <= 3 and server.comments == []
        assert all("exit code 65" in issue["title"] for issue in server.issues.values())
    assert "the notifier sns-topic/not-saved is not used" in told


def test_switched_off_nothing_is_told(site):
    fail = {"stage": ["true"], "run": ["sh", "-c", "exit 65"], "export": ["true"]}
    site.configure()
    site.add("bad", 1)
    with linear() as server:
        save(site, server.url, "http://127.0.0.1:1/x")
        site.configure(
            enable_notifications=False,
            overrides={
                "pipelines": {"sleep-1": fail}, "notifiers": [f"linear-team/{site.name}"],
            },
        )  # fmt: skip
        site.finish(site.poller())
        assert site.states() == {State.FAILED: 1} and server.issues == {}


def test_what_no_cluster_fits_is_told_once_and_starts_when_one_appears(site):
    site.configure(clusters=1)
    site.add("long", 40)  # longer than all that follows, on a busy machine, or the poller ends
    site.add("stuck", 1, preferred_cluster=f"{site.name}-c1", cluster_required=True)
    with linear() as server:
        save(site, server.url, "http://127.0.0.1:1/x")
        names = {"notifiers": [f"linear-team/{site.name}"]}
        site.configure(clusters=1, overrides=names)
        poller = site.poller()
        site.until(lambda: site.running() == {"long"})
        time.sleep(7)  # three cycles and more
        [issue] = server.issues.values()
        assert "stuck: stuck: no cluster fits" in issue["title"] and server.comments == []
        assert "is required" in site.db.get("stuck").placement_reason
        site.configure(clusters=2, overrides=names)
        site.finish(poller)
        assert site.states() == {State.COMPLETE: 2}
        assert site.db.get("stuck").cluster_name == f"{site.name}-c1"
