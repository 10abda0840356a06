"""`daylily_work.yaml`, the file that describes a workset.

Every text of it may come from a stranger: identifiers are letters, digits, `.`, `_` and `-`; paths
stay inside the workset's folder; nothing else is let through. Keys that are not ours are kept and
reported, for Daylily's own files carry more.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from worksets.errors import ConfigurationError
from worksets.record import MAX_RETRIES, Priority
from worksets.yaml_safe import Lines, load_mapping

FILE_NAME: Final = "daylily_work.yaml"
MAX_SAMPLES: Final = 2000

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATH_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,199}")
_FASTQ_ENDINGS: Final = (".fastq", ".fq", ".fastq.gz", ".fq.gz")


def is_identifier(text: str) -> bool:
    """Whether `text` may name a workset, sample, customer, cluster or pipeline.

    At most 64 of the letters A-Z and a-z, digits, `.`, `_`, `-`, the first a letter or digit, and
    never `..`: such a name is safe as a file name, a job name, a tag and an argument.
    """
    return bool(_IDENTIFIER.fullmatch(text)) and ".." not in text


def _identifier(text: str) -> str:
    if not is_identifier(text):
        raise ValueError(
            "write 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit, no '..'"
        )
    return text


def _text(value: Any) -> Any:
    # 001 would silently become the number 1, and NO the truth value false
    if isinstance(value, (int, float)):
        raise ValueError("YAML reads this as a number or truth value; put it in quotes")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _fastq_path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or "://" in text or "\\" in text:
        raise ValueError("write a path relative to the workset's folder, such as fastq/s1_R1.fq.gz")
    if str(path) != text or not path.parts or not all(map(_PATH_PART.fullmatch, path.parts)):
        raise ValueError(
            "each part of the path is letters, digits and . _ + = @ - (no '..', no spaces), "
            "such as fastq/s1_R1.fq.gz"
        )
    if len(text) > 500:
        raise ValueError("the path is longer than 500 characters")
    if not text.endswith(_FASTQ_ENDINGS):
        raise ValueError(f"a FASTQ file ends in {', '.join(_FASTQ_ENDINGS)}")
    return text


def _export_uri(text: str) -> str:
    parts = urlsplit(text)
    path = PurePosixPath(parts.path)
    lawful = (parts.scheme == "s3" and parts.netloc) or (
        parts.scheme == "file" and not parts.netloc and path.is_absolute()
    )
    if not lawful or parts.query or parts.fragment:
        raise ValueError("write s3://bucket/prefix or file:///folder")
    if not all(_PATH_PART.fullmatch(part) for part in path.parts if part != "/"):
        raise ValueError("each part of the path is letters, digits and . _ + = @ - (no '..')")
    return text.rstrip("/")


Identifier = Annotated[str, BeforeValidator(_text), AfterValidator(_identifier)]
FastqPath = Annotated[str, BeforeValidator(_text), AfterValidator(_fastq_path)]
Coverage = Annotated[float, Field(strict=True, gt=0, le=10_000, description="mean depth, ×")]


class ReferenceGenome(StrEnum):
    HG38 = "hg38"
    HG19 = "hg19"
    GRCH38 = "grch38"
    GRCH37 = "grch37"
    B37 = "b37"


class _Open(BaseModel):
    """Keys that are not ours are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Sample(_Open):
    sample_id: Identifier
    fastq_r1: FastqPath
    fastq_r2: FastqPath | None = None
    coverage: Coverage | None = None

    @property
    def fastqs(self) -> tuple[str, ...]:
        return (self.fastq_r1,) if self.fastq_r2 is None else (self.fastq_r1, self.fastq_r2)

    @model_validator(mode="after")
    def _two_files(self) -> Sample:
        if self.fastq_r1 == self.fastq_r2:
            raise ValueError(f"fastq_r1 and fastq_r2 are the same file, {self.fastq_r1}")
        return self


class WorksetSpec(_Open):
    """The content of one `daylily_work.yaml`."""

    samples: tuple[Sample, ...]
    reference_genome: Annotated[ReferenceGenome, BeforeValidator(_lower)]
    pipeline: Identifier = "germline"
    priority: Annotated[Priority, BeforeValidator(_lower)] = Priority.NORMAL
    max_retries: int | None = Field(None, strict=True, ge=0, le=MAX_RETRIES)
    preferred_cluster: Identifier | None = None
    cluster_required: bool = Field(False, strict=True)
    estimated_coverage: Coverage | None = None
    customer_id: Identifier | None = None
    export_uri: Annotated[str, BeforeValidator(_text), AfterValidator(_export_uri)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> WorksetSpec:
        if not 1 <= len(self.samples) <= MAX_SAMPLES:
            raise ValueError(
                f"a workset has 1 to {MAX_SAMPLES} samples; this one has {len(self.samples)}"
            )
        seen: set[str] = set()
        files: dict[str, str] = {}
        for sample in self.samples:
            if sample.sample_id in seen:
                raise ValueError(f"two samples have the sample_id {sample.sample_id}")
            seen.add(sample.sample_id)
            for fastq in sample.fastqs:
                if fastq in files:
                    raise ValueError(
                        f"the file {fastq} belongs to both {files[fastq]} and {sample.sample_id}"
                    )
                files[fastq] = sample.sample_id
        if self.cluster_required and self.preferred_cluster is None:
            raise ValueError("cluster_required needs a preferred_cluster")
        return self


@dataclass(frozen=True)
class ParsedSpec:
    """A lawful spec, and what an operator may want to look at in it."""

    spec: WorksetSpec
    warnings: tuple[str, ...]


def parse_spec(data: bytes, name: str = FILE_NAME) -> ParsedSpec:
    """The workset that `data` describes; `name` is how messages call the file.

    Raises:
        ConfigurationError: it is not lawful; the message has a line for every mistake, with the
            key, the line and what to write instead.
    """
    mapping, lines = load_mapping(data, name)
    try:
        spec = WorksetSpec.model_validate(mapping)
    except ValidationError as error:
        raise ConfigurationError(
            "\n".join(
                _message(name, lines, problem["loc"], problem)
                for problem in error.errors(include_url=False)[:20]
            )
        ) from None
    return ParsedSpec(spec, tuple(_unknown_keys(name, spec)))


def _message(name: str, lines: Lines, loc: tuple[str | int, ...], problem: Any) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)[1:]
    known = next((lines[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in lines), 1)
    text = str(problem["msg"]).removeprefix("Value error, ").replace("tuple", "list")
    given = problem.get("input")
    shown = "" if isinstance(given, (dict, BaseModel)) else f" (it says {_short(given)})"
    return f"{name} (line {known}): {key or 'the file'}: {text}{shown}"


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown_keys(name: str, spec: WorksetSpec) -> list[str]:
    found: list[str] = []
    for where, model in (
        ("", spec),
        *((f"samples[{index}].", sample) for index, sample in enumerate(spec.samples)),
    ):
        ours = type(model).model_fields
        for key in model.model_extra or {}:
            near = difflib.get_close_matches(key, ours, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found.append(f"{name}: {where}{_short(key)[1:-1]} is not a key of ours, kept{hint}")
    return found
