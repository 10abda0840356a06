"""SSM's API and the agent behind it, as far as a transport needs them; scripts really run.

No real SSM can be had without AWS. What AWS documents of it is kept to: 24,000 characters of output
are shown, the rest is in S3; a command is unknown for a moment after it was sent; an agent that
does not answer leaves it `Undeliverable`.
"""

import json
import os
import subprocess
import tempfile
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

INSTANCE = "i-0123456789abcdef0"
RUNUSER = """#!/bin/sh
if [ "$1" != -u ] || [ "$2" != "$(id -un)" ] || [ "$3" != -- ]; then
    echo "runuser: user $2 does not exist or may not be used" >&2
    exit 1
fi
shift 3
exec "$@"
"""


@dataclass
class Agent:
    """`ending`: the StatusDetails with which commands end instead of running."""

    s3: object
    url: str = ""
    ending: str = ""
    refuse: tuple[int, str] | None = None
    sent: list = field(default_factory=list)
    keys: set = field(default_factory=set)
    """Access keys by which it was asked, and the regions that the signatures name."""
    regions: set = field(default_factory=set)
    commands: dict = field(default_factory=dict)

    def SendCommand(self, request):
        id_ = str(uuid.uuid4())
        self.sent.append(request)
        self.commands[id_] = {"Status": "InProgress", "asked": 0}
        threading.Thread(target=self._run, args=(id_, request), daemon=True).start()
        return {"Command": {"CommandId": id_}}

    def _run(self, id_, request):
        if self.ending:
            self.commands[id_] |= {"Status": "Failed", "StatusDetails": self.ending}
            return
        lines = "\n".join(request["Parameters"]["commands"])
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                ["sh", "-c", lines], capture_output=True, check=False, env=_environment(folder)
            )
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        if bucket := request.get("OutputS3BucketName"):
            for name, text in (("stdout", out), ("stderr", err)):
                key = f"{id_}/{INSTANCE}/awsrunShellScript/0.awsrunShellScript/{name}"
                self.s3.put_object(
                    Bucket=bucket, Key=f"{request['OutputS3KeyPrefix']}/{key}", Body=text.encode()
                )
        status = "Success" if done.returncode == 0 else "Failed"
        self.commands[id_] |= {
            "Status": status, "StatusDetails": status, "ResponseCode": done.returncode,
            "out": out, "err": err,
        }  # fmt: skip

    def GetCommandInvocation(self, request):
        command = self.commands[request["CommandId"]]
        command["asked"] += 1
        if command["asked"] == 1:
            return {"__type": "InvocationDoesNotExist"}
        return {
            "CommandId": request["CommandId"],
            "InstanceId": request["InstanceId"],
            "Status": command["Status"],
            "StatusDetails": command.get("StatusDetails", command["Status"]),
            "ResponseCode": command.get("ResponseCode", -1),
            "StandardOutputContent": command.get("out", "")[:24_000],
            "StandardErrorContent": command.get("err", "")[:8_000],
        }


def _environment(folder):
    """An agent is root, and `runuser` works for root only. Where this is not root, one stands in
    that knows the own user, and refuses any other as the real one does."""
    path = os.environ.get("PATH", os.defpath)
    if os.geteuid() == 0:
        return os.environ | {"PATH": path}
    stand_in = Path(folder) / "runuser"
    stand_in.write_text(RUNUSER)
    stand_in.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{path}"}


@contextmanager
def agent(s3):
    here = Agent(s3)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            _, _, scope = self.headers["Authorization"].partition("Credential=")
            key, _, region = scope.split("/")[:3]
            here.keys.add(key)
            here.regions.add(region)
            if here.refuse:
                status, answer = here.refuse[0], {"__type": here.refuse[1]}
            else:
                answer = getattr(here, operation)(body)
                status = 400 if "__type" in answer else 200
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
