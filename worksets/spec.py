"""`daylily_work.yaml`, the file that describes a workset.

Every text of it may come from a stranger: identifiers are letters, digits, `.`, `_` and `-`; paths
stay inside the workset's folder; nothing else is let through. Keys that are not ours are kept and
reported, for Daylily's own files carry more.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from worksets.daylily import OTHERS, understood
from worksets.due import Due
from worksets.errors import ConfigurationError
from worksets.record import MAX_RETRIES, Priority
from worksets.sample_sheet import COLUMNS, SHEET_NAME, read_sheet
from worksets.texts import listed
from worksets.uris import is_lawful
from worksets.yaml_safe import Lines, load_mapping

FILE_NAME: Final = "daylily_work.yaml"
MAX_SAMPLES: Final = 2000

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATH_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,199}")
_FASTQ_ENDINGS: Final = tuple(
    f"{kind}{packed}" for kind in (".fastq", ".fq") for packed in ("", ".gz", ".bz2")
)
MAX_LANES: Final = 64
NO_FILE: Final = "no_file"
"""Type of the error of a sample that names none."""
_DIGEST: Final = {"md5": re.compile(r"[0-9a-f]{32}"), "sha256": re.compile(r"[0-9a-f]{64}")}


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


def _file(text: str, endings: tuple[str, ...] = ()) -> str:
    """A path below the workset's folder, or a whole URI, of a file with one of these endings."""
    if "://" not in text:
        _lawful_path(text)
    elif not is_lawful(text):
        raise ValueError("write s3://bucket/path or file:///path, plainly: no '..', no '%'")
    if len(text) > 500:
        raise ValueError("the path is longer than 500 characters")
    if endings and not text.lower().endswith(endings):
        kind = "a FASTQ file" if endings is _FASTQ_ENDINGS else "such a file"
        raise ValueError(f"{kind} ends in {', '.join(endings)}")
    if not _PATH_PART.fullmatch(text.rpartition("/")[2]):
        raise ValueError("the file's name is letters, digits and . _ + = @ -")
    return text


def _lawful_path(text: str) -> None:
    path = PurePosixPath(text)
    if path.is_absolute() or "\\" in text:
        raise ValueError(
            "write a path relative to the workset's folder, such as fastq/s1_R1.fq.gz, or a whole "
            "URI, such as s3://bucket/s1_R1.fq.gz"
        )
    if str(path) != text or not path.parts or not all(map(_PATH_PART.fullmatch, path.parts)):
        raise ValueError(
            "each part of the path is letters, digits and . _ + = @ - (no '..', no spaces), "
            "such as fastq/s1_R1.fq.gz"
        )


def _lanes(value: Any) -> Any:
    """One file is a text, the files of several lanes are a list of texts."""
    if isinstance(value, list):
        if not 1 <= len(value) <= MAX_LANES:
            raise ValueError(f"write one file, or a list of 1 to {MAX_LANES}, one a lane")
        for entry in value:
            if not isinstance(entry, str):
                raise ValueError("each file of the list is a text, such as fastq/s1_L001_R1.fq.gz")
        return tuple(_file(entry, _FASTQ_ENDINGS) for entry in value)
    value = _text(value)
    if not isinstance(value, str):
        raise ValueError("write a path, or a list of paths, one a lane")
    return (_file(value, _FASTQ_ENDINGS),)


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
Fastqs = Annotated[tuple[str, ...], BeforeValidator(_lanes)]
"""Files of one end of the reads: one a lane, in the order of the lanes."""
Bam = Annotated[str, BeforeValidator(_text), AfterValidator(partial(_file, endings=(".bam",)))]
Cram = Annotated[str, BeforeValidator(_text), AfterValidator(partial(_file, endings=(".cram",)))]
Index = Annotated[
    str, BeforeValidator(_text), AfterValidator(partial(_file, endings=(".bai", ".csi", ".crai")))
]


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AnyFile = Annotated[str, BeforeValidator(_text), AfterValidator(_file)]
Digests = Annotated[tuple[str, ...], BeforeValidator(lambda value: _digests(value))]


def _digests(value: Any) -> Any:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise ValueError("write a checksum in quotes, or a list of them, one a file")
    return tuple(entry.strip().lower() for entry in entries)


Coverage = Annotated[float, Field(strict=True, gt=0, le=10_000, description="mean depth, ×")]


class _Open(BaseModel):
    """Keys that are not ours are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Sample(_Open):
    sample_id: Identifier
    fastq_r1: Fastqs | None = None
    fastq_r2: Fastqs | None = None
    bam: Bam | None = None
    cram: Cram | None = None
    alignment_index: Index | None = None
    """Of a BAM or CRAM file; None: its name with `.bai` or `.crai` after it."""
    coverage: Coverage | None = None
    md5: Digests = ()
    sha256: Digests = ()
    sheet: tuple[dict[str, str], ...] = Field(
        (), description="other columns of `stage_samples.tsv`, of each lane"
    )

    @property
    def aligned(self) -> str:
        """Its BAM or CRAM file; empty where it has reads."""
        return self.bam or self.cram or ""

    @property
    def index_file(self) -> str:
        """The index of its BAM or CRAM file, as the YAML names it, or as it is called by custom."""
        return self.alignment_index or f"{self.aligned}{'.bai' if self.bam else '.crai'}"

    @property
    def files(self) -> tuple[str, ...]:
        """All its files: those of R1, then those of R2; or a BAM or CRAM file and its index."""
        if self.aligned:
            return (self.aligned, self.index_file)
        return (*(self.fastq_r1 or ()), *(self.fastq_r2 or ()))

    @model_validator(mode="after")
    def _whole(self) -> Sample:
        kinds = [kind for kind in ("fastq_r1", "bam", "cram") if getattr(self, kind) is not None]
        if not kinds:
            raise PydanticCustomError(NO_FILE, "it names no file: write fastq_r1, bam or cram")
        if len(kinds) > 1 or (self.aligned and self.fastq_r2 is not None):
            both = kinds if len(kinds) > 1 else [*kinds, "fastq_r2"]
            raise ValueError(f"it has {' and '.join(both)}; write one kind of file")
        if self.alignment_index is not None and not self.aligned:
            raise ValueError("alignment_index is that of a bam or cram")
        reads, mates = self.fastq_r1 or (), self.fastq_r2
        if mates is not None and len(reads) != len(mates):
            raise ValueError(
                f"fastq_r1 has {len(reads)} files and fastq_r2 {len(mates)}; "
                f"the files of a lane stand at the same place in both"
            )
        twice = {name for name in self.files if self.files.count(name) > 1}
        if twice:
            raise ValueError(f"fastq_r1 and fastq_r2 are the same file, {min(twice)}")
        for kind, given in (("md5", self.md5), ("sha256", self.sha256)):
            # of an index none is needed
            if given and len(given) not in {len(self.files), len(self.files) - bool(self.aligned)}:
                first = "that of the bam or cram" if self.aligned else "those of fastq_r1"
                raise ValueError(
                    f"{kind} has {len(given)} checksums for {len(self.files)} files; write one "
                    f"for each, {first} first"
                )
            if wrong := [text for text in given if not _DIGEST[kind].fullmatch(text)]:
                raise ValueError(f"{kind}: {_short(wrong[0])} is no {kind} in hexadecimal digits")
        return self


class WorksetSpec(_Open):
    """The content of one `daylily_work.yaml`."""

    samples: tuple[Sample, ...]
    reference_genome: Annotated[Identifier, BeforeValidator(_lower)] | None = None
    """None: the pipeline's default."""
    inputs: Annotated[tuple[AnyFile, ...], BeforeValidator(_one_or_more)] = Field(
        (), max_length=MAX_SAMPLES
    )
    """Other files that its pipeline needs."""
    pipeline: Identifier = "germline"
    priority: Annotated[Priority, BeforeValidator(_lower)] = Priority.NORMAL
    due: Due | None = None
    max_retries: int | None = Field(None, strict=True, ge=0, le=MAX_RETRIES)
    preferred_cluster: Identifier | None = None
    cluster_required: bool = Field(False, strict=True)
    estimated_coverage: Coverage | None = None
    customer_id: Identifier | None = None
    export_uri: Annotated[str, BeforeValidator(_text), AfterValidator(_export_uri)] | None = None

    _asked_genome: str = PrivateAttr("")
    _words: tuple[str, ...] = PrivateAttr(())

    def on_site(self, genome: str, asked: str, words: tuple[str, ...]) -> WorksetSpec:
        """The spec with what a site's settings make of it.

        `genome`: the site's name of the reference genome that is `asked` for; `words`: what of its
        dy-r the pipeline is given.
        """
        found = self.model_copy(update={"reference_genome": genome})
        found._asked_genome, found._words = asked.lower(), words
        return found

    @property
    def asked_genome(self) -> str:
        """The reference genome, however the site calls it now."""
        return self._asked_genome or self.reference_genome or ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its dy-r that its pipeline is given."""
        return self._words

    @property
    def daylily(self) -> Mapping[str, Any]:
        """Keys of Daylily's own files that are none of ours."""
        return {key: value for key, value in (self.model_extra or {}).items() if key in OTHERS}

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
            for file in sample.files:
                if file in files:
                    raise ValueError(
                        f"the file {file} belongs to both {files[file]} and {sample.sample_id}"
                    )
                files[file] = sample.sample_id
        if twice := [n for n in self.inputs if n in files or self.inputs.count(n) > 1]:
            raise ValueError(f"inputs: the file {twice[0]} is named twice")
        if self.cluster_required and self.preferred_cluster is None:
            raise ValueError("cluster_required needs a preferred_cluster")
        return self


@dataclass(frozen=True)
class ParsedSpec:
    """A lawful spec, and what an operator may want to look at in it."""

    spec: WorksetSpec
    warnings: tuple[str, ...]


def parse_spec(
    data: bytes, name: str = FILE_NAME, sheet: Callable[[], bytes | None] = lambda: None
) -> ParsedSpec:
    """The workset that `data` describes; `name` is how messages call the file.

    `sheet` gives the `stage_samples.tsv` beside it, if there is one; it is asked for only where
    the file names no samples itself.

    Raises:
        ConfigurationError: it is not lawful; the message has a line for every mistake, with the
            key, the line and what to write instead.
    """
    mapping, lines = load_mapping(data, name)
    given, rows = understood(mapping, lines), None
    if not given.get("samples") and (table := sheet()) is not None:
        if hint := meant("samples", given):
            raise ConfigurationError(f"{name}: samples: missing{hint}")
        found = read_sheet(table)
        given["samples"], rows = found.samples, found.lines
    try:
        spec = WorksetSpec.model_validate(given)
    except ValidationError as error:
        told = listed(
            error.errors(include_url=False),
            lambda problem: (
                _of_sheet(rows, problem)
                if rows and len(problem["loc"]) > 1 and problem["loc"][0] == "samples"
                else _message(name, lines, problem["loc"], problem) + _near(problem)
            ),
            about=f"{name}: ",
        )
        raise ConfigurationError("\n".join(told)) from None
    unknown = listed(list(_unknown_keys(spec)), partial(_unknown_key, name), about=f"{name}: ")
    return ParsedSpec(spec, tuple(unknown))


_CUSTOMER: Final = re.compile(
    rf"^customer_id:[ \t]*(['\"]?)({_IDENTIFIER.pattern})\1[ \t]*(?:#|$)", re.M
)


def named_customer(data: bytes) -> str:
    """The customer that a file names, though it is not lawful; empty: it cannot be read.

    Nothing is done for a customer by this; it is by whom an operator looks for what has failed.
    """
    try:
        found = understood(*load_mapping(data, FILE_NAME)).get("customer_id")
    except ConfigurationError:
        # no YAML at all, such as a quote that is never closed: the line itself, if there is one
        lines = _CUSTOMER.findall(data.decode("utf-8", "replace"))
        found = lines[0][1] if len(lines) == 1 else ""
    return found if isinstance(found, str) and is_identifier(found) else ""


def _message(name: str, lines: Lines, loc: tuple[str | int, ...], problem: Any) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)[1:]
    known = next((lines[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in lines), 1)
    text = str(problem["msg"]).removeprefix("Value error, ").replace("tuple", "list")
    given = problem.get("input")
    shown = "" if isinstance(given, (dict, BaseModel)) else f" (it says {_short(given)})"
    return f"{name} (line {known}): {key or 'the file'}: {text}{shown}"


def _of_sheet(rows: tuple[int, ...], problem: Any) -> str:
    """Of a sample that stands in the table: its row, and the column."""
    _, number, *key = problem["loc"]
    column = COLUMNS.get(str(key[0]), str(key[0])) if key else "the sample"
    text = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (it says {_short(given)})" if isinstance(given, (str, list)) else ""
    return f"{SHEET_NAME} (line {rows[number]}): {column}: {text}{shown}"


def _near(problem: Any) -> str:
    """Where a key is missing: the one that stands there and may be meant."""
    given, missing = problem.get("input"), str(problem["loc"][-1]) if problem["loc"] else ""
    if problem["type"] == NO_FILE:
        return meant("fastq_r1", given if isinstance(given, dict) else {})
    if problem["type"] != "missing" or not isinstance(given, dict):
        return ""
    beside = f"; or put {SHEET_NAME} beside it" if problem["loc"] == ("samples",) else ""
    return beside + meant(missing, given)


def meant(missing: str, given: Iterable[str]) -> str:
    """Words for a key that is missing, if one of those given is nearly that."""
    others = [key for key in given if key not in {*WorksetSpec.model_fields, *Sample.model_fields}]
    near = [
        key
        for key in others
        if (len(key) > 2 and missing.startswith(key)) or missing.endswith(f"_{key}")
    ]
    near = near or difflib.get_close_matches(missing, others, n=1, cutoff=0.7)
    return f"; {_short(near[0])} stands there: is {missing!r} meant?" if near else ""


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown_keys(spec: WorksetSpec) -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Each key that is not ours: the place that it stands in, the key, and whose it is not."""
    yield from (("", key, WorksetSpec) for key in spec.model_extra or {} if key not in OTHERS)
    for index, sample in enumerate(spec.samples):
        yield from ((f"samples[{index}].", key, Sample) for key in sample.model_extra or {})


def _unknown_key(name: str, found: tuple[str, str, type[BaseModel]]) -> str:
    where, key, model = found
    near = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.8)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name}: {where}{_short(key)[1:-1]} is not a key of ours, kept{hint}"
