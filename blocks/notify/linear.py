"""Announcements to Linear: one issue for each workset that needs somebody, and comments on it."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any, Final

import httpx
from pydantic import Field, SecretStr

from blocks.notify.channel import Channel
from worksets.announcements import MAX_SUBJECT, Announcement, Kind
from worksets.texts import line, plain

FIND: Final = "query Find($id: String!) { issue(id: $id) { id } }"
CREATE: Final = """
mutation Create($input: IssueCreateInput!) {
  issueCreate(input: $input) { success issue { id identifier } }
}"""
COMMENT: Final = """
mutation Comment($input: CommentCreateInput!) {
  commentCreate(input: $input) { success }
}"""
PRIORITY: Final = {"urgent": 1, "normal": 3, "low": 4}
"""Linear's: 1 urgent, 2 high, 3 normal, 4 low."""
TIMEOUT_S: Final = 15.0


class LinearError(Exception):
    """Linear refused a request; says why."""


class LinearTeam(Channel):
    """Opens issues in a Linear team, and comments on them when more is known.

    An issue's id is a function of team and workset, so that there is one however often it is
    opened, by whatever process.
    """

    _block_type_name = "Linear Team"
    _block_type_slug = "linear-team"

    api_key: SecretStr = Field(description="A personal API key of Linear")
    team_id: uuid.UUID = Field(description="Id of the team (a UUID)")
    url: str = Field("https://api.linear.app/graphql", description="Linear's GraphQL endpoint")
    events: list[Kind] = Field(
        default_factory=lambda: [
            Kind.DEAD_LETTER,
            Kind.STUCK,
            Kind.UNSETTLED,
            Kind.CLUSTER_UNREACHABLE,
            Kind.COMPLETED,
        ],
        description="What is told; completed only as a comment on an issue that there is",
    )

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Open an issue with a text; the same subject again becomes a comment."""
        subject = line(subject or body.partition("\n")[0], MAX_SUBJECT)
        await self._tell(subject, subject, body, priority=0, opens=True)

    async def announce(self, announcement: Announcement) -> None:
        record = announcement.record
        await self._tell(
            announcement.about,
            announcement.subject,
            announcement.body,
            priority=PRIORITY[record.priority.value] if record else 2,
            opens=announcement.kind is not Kind.COMPLETED,
        )

    def issue_id(self, about: str) -> str:
        """The id (UUID v4, as Linear asks for) of the issue about a workset or cluster."""
        digest = hashlib.sha256(f"{self.team_id}/{about}".encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))

    async def _tell(self, about: str, title: str, body: str, *, priority: int, opens: bool) -> None:
        issue = self.issue_id(about)
        # a log is shown as it is, not as Markdown of its own
        text = "```\n" + plain(body).replace("```", "'''") + "\n```"
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            if not await self._exists(client, issue):
                if not opens:
                    return
                if await self._create(client, issue, title, text, priority):
                    return
            comment = {"issueId": issue, "body": f"{title}\n\n{text}"}
            await self._ask(client, COMMENT, {"input": comment})

    async def _create(
        self, client: httpx.AsyncClient, issue: str, title: str, text: str, priority: int
    ) -> bool:
        """Whether the issue is new; False where another process was faster."""
        wanted = {
            "id": issue,
            "teamId": str(self.team_id),
            "title": title,
            "description": text,
            "priority": priority,
        }
        try:
            await self._ask(client, CREATE, {"input": wanted})
        except LinearError:
            if not await self._exists(client, issue):
                raise
            return False
        return True

    async def _exists(self, client: httpx.AsyncClient, issue: str) -> bool:
        try:
            found = await self._ask(client, FIND, {"id": issue})
        except LinearError as error:
            if "not found" in str(error).lower():
                return False
            raise
        return found.get("issue") is not None

    async def _ask(
        self, client: httpx.AsyncClient, query: str, variables: dict[str, Any]
    ) -> dict[str, Any]:
        answer = await client.post(
            self.url,
            json={"query": query, "variables": variables},
            headers={"Authorization": self.api_key.get_secret_value()},
        )
        try:
            told = answer.json()
        except ValueError:
            raise LinearError(f"HTTP {answer.status_code}: {answer.text[:200]}") from None
        if errors := told.get("errors"):
            raise LinearError("; ".join(str(error.get("message")) for error in errors))
        answer.raise_for_status()
        data: dict[str, Any] = told["data"]
        return data
