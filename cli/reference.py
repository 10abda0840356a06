"""`python -m cli.reference > docs/reference.md`: all commands, keys, deployments and events.

Read from the code alone, so the page says what the code does. It has no times, no paths of a
machine and no width of a terminal in it: the same code prints the same page.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import annotated_types
from cyclopts.argument import Argument
from prefect.blocks.core import Block
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from blocks.clusters.slurm.nodes import Partition
from blocks.clusters.slurm.ssh import SshHost, SshTransport
from blocks.clusters.slurm.ssm import SsmTransport
from blocks.clusters.slurm.transport import LocalTransport
from blocks.kinds import kind_of
from blocks.notify.aws import SnsTopic, SqsQueue
from blocks.notify.channel import Channel
from blocks.notify.events import as_event
from blocks.notify.linear import LinearTeam
from blocks.settings import WorksetSettings
from cli import acting, keeping, looking
from cli.main import app, name_of
from flows.poll_worksets import SERVED
from local.settings_file import CLUSTERS, STATE_DBS
from worksets.announcements import Announcement, Kind
from worksets.config import Customer, Pipeline, ProcessorConfig
from worksets.costs import PlacementPolicy
from worksets.diagnosis import LogPattern
from worksets.registration import new_record
from worksets.spec import Sample, WorksetSpec

WIDTH: Final = 108
COMMON: Final = ("settings", "json")
"""Options of nearly all commands, told once."""

HEAD: Final = """\
# Reference

This page is printed by `python -m cli.reference > docs/reference.md`. Do not edit it by hand.
"""

EXIT_CODES: Final = """\
| exit code | what it says |
|---|---|
| 0 | done |
| 1 | it was looked at, and something is not well: a wrong file, a check that failed, a workset left as it was |
| 2 | wrong use, or refused |
| 3 | something did not answer: try again |
| 130 | stopped by Ctrl-C |
"""  # noqa: E501

SETTINGS_HEAD: Final = """\
One YAML file. `worksets check FILE` says all that is wrong with it. Relative paths count from the
folder in which the command runs.
"""

IN_A_FILE: Final = {
    "state_db": (["its keys", "must be given"], "the state DB, with its `type`"),
    "clusters": (["list of clusters"], "the clusters, each with its `type`"),
    "worksets": (["list of texts"], ""),
    "results": (["text", "default `results`"], ""),
}
"""Keys that are other ones in a settings file than in the block that is made of it."""

SPEC_KEYS: Final = {
    "samples": "The samples, from 1 to 2000. Without it: those of `stage_samples.tsv`, beside the "
    "file.",
    "reference_genome": "The reference genome. Without it: the pipeline's "
    "`default_reference_genome`.",
    "inputs": "Other files that the pipeline needs, as paths or URIs.",
    "pipeline": "One of the pipelines of the settings.",
    "priority": "Who starts first. What an operator has set by hand stands before it.",
    "due": "When its result is wanted: a day (its end, UTC), a time with its zone, or hours from "
    "when it is found. It counts as urgent from when twice the length of its run is left; an hour "
    "late costs `placement.late_usd_per_hour`.",
    "max_retries": "How often it is tried again. Without it: the settings' `default_max_retries`.",
    "preferred_cluster": "A cluster that is taken where it costs little more than another.",
    "cluster_required": "`true`: it runs on the preferred cluster and on no other.",
    "estimated_coverage": "Mean depth (×) of samples that name none, for estimates.",
    "customer_id": "One of the customers of the settings. Without it: `default_customer`.",
    "export_uri": "Where its results go, as `s3://bucket/prefix` or `file:///folder`. It must lie "
    "below one of the customer's `exports`, or below CUSTOMER in one of the `export_roots`.",
}
SAMPLE_KEYS: Final = {
    "sample_id": "A name; no two samples of a workset have the same.",
    "fastq_r1": "A file, or a list of files, one a lane. Each is a path below the workset's "
    "folder, or a whole URI.",
    "fastq_r2": "The files of the other end, in the order of `fastq_r1`.",
    "bam": "An aligned file, in the place of `fastq_r1` and `fastq_r2`.",
    "cram": "The same, as CRAM.",
    "alignment_index": "The index of `bam` or `cram`. Without it: the same name with `.bai` "
    "or `.crai` after it.",
    "coverage": "Mean depth, ×.",
    "md5": "Checksums of all files, those of `fastq_r1` (or `bam` or `cram`) first. The copy of "
    "each file is checked.",
    "sha256": "The same with SHA-256.",
}
PATTERN_KEYS: Final = {
    "category": "Class of the error; only `transient` and `resource` are tried again.",
}
PIPELINE_KEYS: Final = {
    "stage": "Argument list that copies the FASTQ files to the cluster.",
    "run": "Argument list of the pipeline itself.",
    "export": "Argument list that copies the results to their place.",
}
MEANINGS: Final = {
    Kind.COMPLETED: "A workset is complete.",
    Kind.RETRYING: "An attempt failed; the workset is tried again after a while.",
    Kind.DEAD_LETTER: "A workset failed for good and waits for a person.",
    Kind.CANCELLED: "A workset was cancelled.",
    Kind.STUCK: "A workset waits for something that does not pass by itself.",
    Kind.UNSETTLED: "Nobody can say how the job of a workset stands.",
    Kind.REDELIVERED: "The folder of a workset that has ended holds something new.",
    Kind.UNREADABLE: "The record of a workset cannot be read; it is left as it is.",
    Kind.CLOCK_OFF: "The clock of a machine is wrong. Until it is right, it takes over nothing.",
    Kind.BUDGET: "A customer has spent 80 % of its budget of this month, or all of it.",
    Kind.CLUSTER_UNREACHABLE: "A cluster does not answer.",
    Kind.CLUSTER_REACHABLE: "A cluster answers again.",
}
EVENTS_HEAD: Final = """\
Prefect events, for the feed of the UI and for automations. `kind` is the name by which the `events`
of a notifier choose. A notifier is told of the marked ones, if its `events` do not say otherwise.
"""


def page() -> str:
    """The whole page."""
    parts: tuple[Callable[[], Iterator[str]], ...] = (_commands, _settings, _spec, _served, _events)
    lines = [HEAD, *(line for part in parts for line in part())]
    return "\n".join(lines).rstrip("\n") + "\n"


# --- Commands ---


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    yield _filled(
        "The settings are those of `--settings`; else those that `WORKSETS_SETTINGS` names; else "
        "the block `default` on the server of `PREFECT_API_URL`."
    )
    yield EXIT_CODES
    common = [one for one in _arguments("status") if one.field_info.name in COMMON]
    yield "Most commands have these options:\n"
    yield "\n".join(_option(one) for one in common) + "\n"
    for group in (looking, acting, keeping):
        yield f"### {group.TITLE}\n"
        for command in group.COMMANDS:
            yield from _command(name_of(command), command)


def _command(name: str, command: Callable[..., Any]) -> Iterator[str]:
    every = _arguments(name)
    own = [one for one in every if one.field_info.name not in COMMON]
    usage = " ".join(["worksets", name, *(_place(one) for one in own if _is_place(one))])
    yield f"#### `{usage}`\n"
    yield from _paragraphs(_before(command.__doc__, "Parameters"))
    if own:
        yield "\n".join(_option(one) for one in own) + "\n"
    here = {one.field_info.name for one in every}
    if lacking := [f"`--{name}`" for name in COMMON if name not in here]:
        yield f"It has no {' and no '.join(lacking)}.\n"


def _arguments(name: str) -> list[Argument]:
    return [one for one in app[name].assemble_argument_collection(parse_docstring=True) if one.show]


def _is_place(one: Argument) -> bool:
    return one.field_info.kind is not inspect.Parameter.KEYWORD_ONLY


def _place(one: Argument) -> str:
    word = one.names[0].lstrip("-").upper().replace("_", "-")
    if one.field_info.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"[{word.removesuffix('S')} ...]"
    return word if one.required else f"[{word}]"


def _option(one: Argument) -> str:
    default = one.field_info.default
    told = [_type(one.field_info.annotation)]
    if one.required:
        told.append("must be given")
    elif default not in (inspect.Parameter.empty, None, False, ""):
        told.append(f"default `{_yaml(default)}`")
    names = _place(one) if _is_place(one) else ", ".join(one.names)
    return _item(names, told, one.parameter.help or "")


# --- Keys of files ---


def _settings() -> Iterator[str]:
    yield "## Settings file\n"
    yield SETTINGS_HEAD
    yield from _keys("### At the top", WorksetSettings, skip=(), told=IN_A_FILE)
    yield from _keys("### `processor`", ProcessorConfig)
    yield from _keys("### `customers: {NAME: …}`", Customer)
    yield from _keys("### `pipelines: {NAME: …}`", Pipeline, texts=PIPELINE_KEYS)
    yield from _keys("### `placement`", PlacementPolicy)
    yield from _keys("### `log_patterns: [{…}]`", LogPattern, texts=PATTERN_KEYS)
    for kind, slug in STATE_DBS.items():
        yield from _keys(f"### `state_db: {{type: {kind}, …}}`", kind_of(slug))
    for kind, slug in CLUSTERS.items():
        yield from _keys(f"### `clusters: [{{type: {kind}, …}}]`", kind_of(slug))
    for transport in (LocalTransport, SshTransport, SsmTransport):
        kind = transport.model_fields["kind"].default
        yield from _keys(f"### `transport: {{kind: {kind}, …}}` of a Slurm cluster", transport)
    yield from _keys("### `jump` of the transport `ssh`", SshHost)
    yield from _keys("### One of the `partitions` of a Slurm cluster", Partition)
    yield "## Notifiers\n"
    yield _filled(
        "Blocks in Prefect that `notifiers` of the settings file may name as TYPE-SLUG/NAME. Any "
        "notifier of Prefect may be named as well."
    )
    for channel in (SnsTopic, SqsQueue, LinearTeam):
        yield from _keys(f"### `{channel.get_block_type_slug()}`", channel)


def _spec() -> Iterator[str]:
    yield "## daylily_work.yaml\n"
    yield from _keys("", WorksetSpec, texts=SPEC_KEYS, doc=False)
    yield "Keys that are not ours are kept, and `worksets check` names them.\n"
    yield from _keys("### Each of `samples`", Sample, texts=SAMPLE_KEYS)


def _keys(
    title: str,
    model: type[BaseModel],
    *,
    skip: Sequence[str] = ("kind",),
    told: Mapping[str, tuple[list[str], str]] | None = None,
    texts: Mapping[str, str] | None = None,
    doc: bool = True,
) -> Iterator[str]:
    """A section with each key of a model."""
    if title:
        yield f"{title}\n"
    if doc:
        yield from _paragraphs(_before(model.__doc__, "Layout below"))
    rows = []
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        text = (texts or {}).get(name) or field.description or ""
        facts = [_type(field.annotation), *_bounds(field), _default(field)]
        if told and name in told:
            facts, text = told[name][0], told[name][1] or text
        rows.append(_item(name, [fact for fact in facts if fact], text))
    yield "\n".join(rows) + "\n"


def _type(annotation: Any) -> str:
    """A type in plain words."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        parts = [part for part in inner if part is not type(None)]
        return " or ".join(dict.fromkeys(map(_type, parts)))
    if origin is Literal:
        return " or ".join(f"`{choice}`" if choice else "empty" for choice in inner)
    if origin in (list, tuple, Sequence):
        return f"list of {_plural(_type(inner[0]))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping from names to {_plural(_type(inner[1]))}"
    if not isinstance(annotation, type):
        return "text"
    if issubclass(annotation, Enum):
        return " or ".join(f"`{choice.value}`" for choice in annotation)
    if issubclass(annotation, Block):
        return "a block of Prefect"
    if issubclass(annotation, BaseModel):
        return "its keys"
    return _PLAIN.get(annotation, "text")


_PLAIN: Final[dict[type, str]] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Path: "path",
    SecretStr: "secret text",
    UUID: "UUID",
    datetime: "time",
}


def _plural(word: str) -> str:
    if word == "its keys":
        return "such keys"
    return f"{word}s" if word in _PLAIN.values() and word != "true or false" else word


def _bounds(field: FieldInfo) -> Iterator[str]:
    """What a value may be, in words."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    for one in [*field.metadata, *_metadata(field.annotation)]:
        for attribute, word in words.items():
            if (bound := getattr(one, attribute, None)) is not None:
                yield f"{word} {int(bound):,}" if bound == int(bound) else f"{word} {bound:g}"
        if isinstance(one, annotated_types.MinLen):
            yield "not empty"


def _metadata(annotation: Any) -> Iterator[Any]:
    """What stands beside a type that may be left out: `Annotated[float, Field(gt=0)] | None`."""
    if get_origin(annotation) is Annotated:
        for one in get_args(annotation)[1:]:
            yield from one.metadata if isinstance(one, FieldInfo) else [one]
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _metadata(part)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    bare = _bare(field.annotation)
    if isinstance(bare, type) and issubclass(bare, Block):
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value in (None, "", [], {}, ()) or (
        isinstance(value, SecretStr) and not value.get_secret_value()
    ):
        return ""
    return "" if isinstance(value, BaseModel) else f"default `{_yaml(value)}`"


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _yaml(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml(k)}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(f'"{v}"' if "{" in str(v) else _yaml(v) for v in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- Deployments and events ---


def _served() -> Iterator[str]:
    yield "## Deployments\n"
    yield _filled(
        "A poller serves them; their runs run in it. Where two installations share a server, the "
        "second's have the name of its settings block at their end."
    )
    for name, flow in SERVED.items():
        yield f"### `{name}`\n"
        yield from _paragraphs(_before(flow.fn.__doc__, "Args:"))
        hints, rows = typing.get_type_hints(flow.fn, include_extras=True), []
        told = flow.parameters.properties
        for parameter in inspect.signature(flow.fn).parameters.values():
            needed = parameter.default is parameter.empty
            type_ = _type(hints[parameter.name])
            facts = [type_, "must be given"] if needed else [type_]
            if not needed and parameter.default not in (None, ""):
                facts.append(f"default `{_yaml(parameter.default)}`")
            text = str(told[parameter.name].get("description", ""))
            rows.append(_item(parameter.name, facts, text))
        yield "\n".join(rows) + "\n"


def _events() -> Iterator[str]:
    yield "## Events\n"
    yield EVENTS_HEAD
    yield "| event | kind | notifiers | what happened |\n|---|---|---|---|"
    usual: list[Kind] = Channel.model_fields["events"].get_default(call_default_factory=True)
    for kind in Kind:
        mark = "told" if kind in usual else ""
        yield f"| `{event_name(kind)}` | `{kind.value}` | {mark} | {MEANINGS[kind]} |"
    yield ""


def event_name(kind: Kind) -> str:
    """The name of the Prefect event of an announcement."""
    bare = new_record("w1", "file:///w1", datetime(2026, 1, 1, tzinfo=UTC), None)
    of_workset = kind not in (
        Kind.CLUSTER_REACHABLE,
        Kind.CLUSTER_UNREACHABLE,
        Kind.CLOCK_OFF,
        Kind.BUDGET,
        Kind.UNREADABLE,
    )
    return str(as_event(Announcement(kind, "w1", "", bare if of_workset else None))["event"])


# --- Text ---


def _before(doc: str | None, end: str) -> str:
    """A docstring up to the part that begins with `end`."""
    return inspect.cleandoc(doc or "").partition(f"\n{end}")[0].strip()


def _paragraphs(text: str) -> Iterator[str]:
    for part in text.split("\n\n"):
        if part.strip():
            yield _filled(part)


def _filled(text: str, indent: str = "") -> str:
    text = " ".join(text.split())
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) + ("" if indent else "\n")


def _item(name: str, facts: Sequence[str], text: str) -> str:
    for python, word in (("None:", "without it:"), ("True:", "`true`:"), ("False:", "`false`:")):
        text = text.replace(python, word)
    # `urgent` and vCPU are no beginning of a sentence
    if text.partition(",")[0] not in "".join(facts) and text.partition(" ")[0].islower():
        text = text[:1].upper() + text[1:]
    end = "" if not text or text.endswith((".", "!", "?")) else "."
    return _filled(f"- `{name}` ({', '.join(facts)}){': ' if text else ''}{text}{end}", "  ")


if __name__ == "__main__":
    sys.stdout.write(page())
