"""A Linear of our own: an HTTP server that checks every request against a schema of GraphQL."""

import json
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from graphql import build_schema, parse, validate
from graphql.execution.values import get_variable_values

KEY = "lin_api_test"
# the part of Linear's public schema that is used here
SCHEMA = build_schema("""
type Query { issue(id: String!): Issue! }
type Mutation {
  issueCreate(input: IssueCreateInput!): IssuePayload!
  commentCreate(input: CommentCreateInput!): CommentPayload!
}
type Issue { id: ID! identifier: String! title: String! }
type IssuePayload { success: Boolean! issue: Issue }
type CommentPayload { success: Boolean! }
input IssueCreateInput {
  id: String title: String teamId: String! description: String priority: Int
}
input CommentCreateInput { id: String body: String issueId: String }
""")


@dataclass
class Linear:
    url: str = ""
    slow_s: float = 0
    broken: bool = False
    issues: dict = field(default_factory=dict)
    comments: list = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, headers, body):
        time.sleep(self.slow_s)
        if self.broken:
            return 500, {"errors": [{"message": "Internal Server Error"}]}
        if headers["Authorization"] != KEY:
            return 401, {"errors": [{"message": "Authentication required"}]}
        document = parse(body["query"])
        if errors := validate(SCHEMA, document):
            return 400, {"errors": [{"message": str(error)} for error in errors]}
        operation = document.definitions[0]
        values = get_variable_values(SCHEMA, operation.variable_definitions, body["variables"])
        if isinstance(values, list):
            return 400, {"errors": [{"message": str(error)} for error in values]}
        name = operation.selection_set.selections[0].name.value
        with self.guard:
            return 200, getattr(self, name)(body["variables"])

    def issue(self, given):
        if given["id"] not in self.issues:
            return {"errors": [{"message": "Entity not found: Issue"}], "data": None}
        return {"data": {"issue": {"id": given["id"]}}}

    def issueCreate(self, given):
        wanted = given["input"]
        assert uuid.UUID(wanted["id"]).version == 4 and len(wanted["title"]) <= 255
        if wanted["id"] in self.issues:
            return {"errors": [{"message": "Duplicate id"}], "data": None}
        self.issues[wanted["id"]] = wanted
        created = {"id": wanted["id"], "identifier": f"OPS-{len(self.issues)}"}
        return {"data": {"issueCreate": {"success": True, "issue": created}}}

    def commentCreate(self, given):
        assert given["input"]["issueId"] in self.issues
        self.comments.append(given["input"])
        return {"data": {"commentCreate": {"success": True}}}


@contextmanager
def linear():
    here = Linear()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = here.answer(self.headers, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here.url = f"http://127.0.0.1:{server.server_port}/graphql"
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
