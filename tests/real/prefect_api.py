"""Prefect's API as its UI calls it: plain HTTP. A Python with Prefect in it takes 3 s to start."""

import base64
import json
import time
import urllib.error
import urllib.request

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


class PrefectAPI:
    """The API of the server that these settings of a client name."""

    def __init__(self, environment):
        self.url = environment["PREFECT_API_URL"]
        key = base64.b64encode(environment["PREFECT_API_AUTH_STRING"].encode()).decode()
        self.headers = {"Content-Type": "application/json", "Authorization": f"Basic {key}"}
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path):
        return self._ask("GET", path, None)

    def post(self, path, **body):
        return self._ask("POST", path, json.dumps(body).encode())

    def emit(self, *events):
        """What a program that emits events sends."""
        return self._ask("POST", "events", json.dumps(events).encode())

    def delete(self, path):
        return self._ask("DELETE", path, None)

    def patch(self, path, **body):
        return self._ask("PATCH", path, json.dumps(body).encode())

    def _ask(self, method, path, data):
        request = urllib.request.Request(f"{self.url}/{path}", data, self.headers, method=method)
        try:
            with self.opener.open(request, timeout=60) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error} {error.read()[:2000]}") from error
        return json.loads(content) if content else None

    def _all(self, path, body):
        """What comes in pages, all of it: a test's server is shared by many."""
        found = []
        while page := self.post(path, **body, limit=200, offset=len(found)):
            found += page
        return found

    def run(self, run_id):
        return self.get(f"flow_runs/{run_id}")

    def runs(self, flow=None, **filters):
        """Flow runs, of one flow if it is named; the filters are those of the API."""
        body = {"flow_runs": filters}
        if flow:
            body["flows"] = {"name": {"any_": [flow]}}
        return self._all("flow_runs/filter", body)

    def cancel(self, run_id):
        """What the UI's Cancel button sends."""
        self.post(f"flow_runs/{run_id}/set_state", state={"type": "CANCELLING"})

    def retry(self, run_id):
        """What the UI's Retry button sends."""
        self.set_state(run_id, {"type": "SCHEDULED", "name": "AwaitingRetry"})

    def set_state(self, run_id, state):
        """What the UI's "Change state" sends."""
        self.post(f"flow_runs/{run_id}/set_state", state=state, force=True)

    def limits(self):
        return self._all("v2/concurrency_limits/filter", {})

    def deployment(self, name):
        """The deployment FLOW/NAME, or None."""
        found = self.post(
            "deployments/filter", deployments={"name": {"any_": [name.split("/")[1]]}}
        )
        return found[0] if found else None

    def start(self, deployment, parameters, timeout_s):
        """What the UI's Run button sends; the run, as it is at its end or after this time."""
        deadline = time.monotonic() + timeout_s
        while (found := self.deployment(deployment)) is None:
            assert time.monotonic() < deadline, f"nobody serves {deployment}"
            time.sleep(0.2)
        run = self.post(
            f"deployments/{found['id']}/create_flow_run",
            parameters=parameters,
            state={"type": "SCHEDULED"},
        )
        while time.monotonic() < deadline and run["state"]["type"] not in FINAL:
            time.sleep(0.5)
            run = self.run(run["id"])
        return run
