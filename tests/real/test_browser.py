"""Prefect's UI with the mouse, in Debian's Chromium: what a person presses, and what came of it.

The pages are those of Prefect 3.9; where a later one names a button otherwise, this fails first.
"""

import os
import re
import shutil
import time

import pytest

from tests.real.conftest import made_site
from tests.real.test_hands import SERVE, polls
from tests.services import need
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]
CHROMIUM = shutil.which("chromium")
WAIT_MS = 30_000


@pytest.fixture
def page(site, prefect_server):
    """A page of the site's server, logged in, and a poller that serves."""
    need(CHROMIUM, "chromium")
    from playwright.sync_api import sync_playwright

    site.configure(clusters=1, slots=2, delivery_minutes=0)
    site.start("-c", SERVE, site.name, "3600")
    # a sandbox of its own is not to be had for root
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.set_default_timeout(WAIT_MS)
        opened.goto(prefect_server.ui_url)
        opened.locator("input").first.fill(prefect_server.password)
        opened.keyboard.press("Enter")
        opened.get_by_role("link", name="Deployments").or_(
            opened.get_by_text("Deployments")
        ).first.wait_for()
        yield opened
        browser.close()


def go_to_deployment(page, site, name):
    """Its page, as by a click in the list."""
    flow = name.replace("-", "_")
    site.until(lambda: site.prefect.deployment(f"{flow}/{name}-{site.name}"), 60)
    there = site.prefect.deployment(f"{flow}/{name}-{site.name}")
    page.goto(
        f"{page.url.split('/')[0]}//{page.url.split('/')[2]}/deployments/deployment/{there['id']}"
    )
    page.get_by_role("button", name="Run", exact=True).last.wait_for()


def custom_run(page, site, name, **fields):
    """Run a deployment by its form; the form's fields by their labels."""
    go_to_deployment(page, site, name)
    page.get_by_role("button", name="Run", exact=True).last.click()
    page.get_by_text("Custom run").first.click()
    page.get_by_text("Validate parameters").wait_for()
    for label, value in fields.items():
        field = page.locator(".p-label", has=page.get_by_text(re.compile(rf"^{label}\b"))).first
        if value is True:
            field.get_by_role("switch").click()
        else:
            field.locator("textarea, input").first.fill(value)
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="Submit").wait_for(state="detached")


def go_to_run(page, site, workset_id):
    [run] = site.runs(workset_id)
    page.goto(f"{page.url.split('/')[0]}//{page.url.split('/')[2]}/runs/flow-run/{run['id']}")
    page.get_by_text(workset_id).first.wait_for()
    return run


def in_the_dialog(page, button):
    page.locator(".p-modal").get_by_role("button", name=button).click()


def test_retry_after_the_file_was_put_right_and_cancel_of_one_that_runs(page, site):
    site.add("put-in-order", 1, reads=False)
    site.add("stopped", 40)
    site.until(lambda: site.states()[State.FAILED] == 1, 60)
    site.until(lambda: site.runs("put-in-order")[0]["state"]["name"] == "DeadLetter", 20)
    (site.folder / "worksets" / "put-in-order" / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    time.sleep(2)  # it has come to rest
    go_to_run(page, site, "put-in-order")
    page.get_by_role("button", name="Retry").click()
    in_the_dialog(page, "Retry")
    site.until(lambda: site.db.get("put-in-order").state is State.COMPLETE, 60)
    site.until(lambda: site.running() == {"stopped"}, 60)
    go_to_run(page, site, "stopped")
    page.get_by_role("button", name="Cancel", exact=True).click()
    in_the_dialog(page, "Confirm")
    site.until(lambda: site.db.get("stopped").state is State.CANCELLED, 60)
    assert ("stopped", "end") not in {(id_, mark) for id_, _, _, mark, _ in site.steps()
                                      if mark == "end" and _ == "run"}  # fmt: skip
    assert site.running() == {"stopped"}, "its job never wrote its end"


def test_forms_pause_and_pages(page, site):
    site.add("first", 1)
    site.until(lambda: site.states()[State.COMPLETE] == 1, 60)
    # the poll's schedule is the switch: nothing starts while it is off
    go_to_deployment(page, site, "poll-worksets")
    page.get_by_role("switch").click()
    site.until(lambda: not polls(site)[0]["schedules"][0]["active"], 20)
    time.sleep(5)
    site.add("waits", 1)
    site.until(lambda: site.states()[State.READY] == 1, 60)
    time.sleep(4)
    assert site.states()[State.READY] == 1
    # a person's own form starts it all the same
    custom_run(page, site, "process-workset", workset_id="waits")
    site.until(lambda: site.states()[State.COMPLETE] == 2, 60)
    go_to_deployment(page, site, "poll-worksets")
    page.get_by_role("switch").click()
    site.until(lambda: polls(site)[0]["schedules"][0]["active"], 20)
    # the pages
    home = "/".join(page.url.split("/")[:3])
    page.goto(f"{home}/artifacts/key/queue-{site.name}")
    page.get_by_text(re.compile(r"\d+ wait, \d+ run or are about to")).first.wait_for()
    page.goto(f"{home}/artifacts/key/last-day-{site.name}")
    page.get_by_text("runs of the last day").first.wait_for()
    go_to_run(page, site, "first")
    page.get_by_role("tab", name="Artifacts").or_(
        page.get_by_text("Artifacts", exact=True)
    ).last.click()
    page.get_by_text("first: complete").first.wait_for()
    page.get_by_text("first: complete").first.click()


@pytest.fixture
def other_blocks(prefect_server, tmp_path):
    """Another installation, whose blocks come first in every list of ten."""
    (tmp_path / "others").mkdir()
    with made_site(prefect_server, tmp_path / "others", "", "a-dozen") as others:
        others.configure(clusters=12)


def test_redrive_by_its_form_and_a_limit_changed_in_its_block(other_blocks, page, site):
    site.add("by-form", 1, reads=False)
    site.until(lambda: site.states()[State.FAILED] == 1, 60)
    (site.folder / "worksets" / "by-form" / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    time.sleep(2)  # it has come to rest
    custom_run(page, site, "redrive-worksets", everything=True, reason="the file was put right")
    site.until(lambda: site.db.get("by-form").state is State.COMPLETE, 60)
    assert any("the file was put right" in entry.note for entry in site.db.get("by-form").history)
    # two may run at once, as the settings say; then one, as a person says in the cluster's block
    home = "/".join(page.url.split("/")[:3])
    page.goto(f"{home}/blocks")
    page.get_by_placeholder("Search").first.fill(f"{site.name}-c0")
    page.get_by_text(re.compile(rf"^{site.name}-c0")).first.click()
    page.get_by_text("Max Concurrent Worksets").first.wait_for()
    page.goto(f"{page.url}/edit")
    field = page.locator(".p-label", has=page.get_by_text(re.compile("^Max Concurrent Worksets")))
    field.first.locator("input").first.fill("1")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Save").wait_for(state="detached")
    time.sleep(4)  # a cycle is 2 s
    for n in range(2):
        site.add(f"one-by-one-{n}", 8)
    site.until(lambda: site.states()[State.COMPLETE] == 3, 90)
    assert site.most_at_once(lambda id_: id_.startswith("one-by-one")) == 1
