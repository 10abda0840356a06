"""The settings of one installation, as a Prefect block that names the others."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from blocks.strict import StrictBlock
from worksets.config import Customer, Name, Pipeline, ProcessorConfig
from worksets.diagnosis import LogPattern
from worksets.errors import ConfigurationError
from worksets.estimates import least_of
from worksets.keeping import Keep
from worksets.leases import LEASE_S, LONGEST_LEASE_S, SHORTEST_LEASE_S
from worksets.placement import ClusterView, Limits, PlacementPolicy
from worksets.record import Estimates
from worksets.texts import few
from worksets.uris import Uri, lies_below


class WorksetSettings(StrictBlock):
    """What is watched, for whom, with which pipelines, on which clusters, within which limits."""

    _block_type_name = "Workset Settings"
    _block_type_slug = "workset-settings"

    installation: str = Field(
        "", description="Id of the installation; its state DB must say the same. Empty: any"
    )
    state_db: str = Field(description="The state DB's block, as TYPE-SLUG/NAME")
    clusters: list[str] = Field(description="The clusters' blocks, as TYPE-SLUG/NAME")
    worksets: list[str] = Field(
        description="Places whose sub-folders are worksets: folders, or blocks as s3-bucket/NAME "
        "or local-file-system/NAME"
    )
    bucket_events: dict[Uri, str] = Field(
        default_factory=dict,
        description="URL of the SQS queue in which a watched bucket tells what is new, by the "
        "place's URI: {s3://bucket/prefix: https://sqs…}; each place has a queue of its own",
    )
    results: str = Field(description="Folder for results: RESULTS/CUSTOMER/WORKSET")
    export_roots: list[Uri] = Field(
        default_factory=list,
        description="URIs below which, in ROOT/CUSTOMER, an export_uri may lie",
    )
    customers: dict[Name, Customer] = Field(description="Customers whose worksets are taken")
    default_customer: str = Field(
        "", description="Customer of a workset that names none; empty: it must name one"
    )
    pipelines: dict[Name, Pipeline] = Field(description="Commands of each pipeline")
    reference_genomes: list[Name] = Field(
        default_factory=list,
        description="Reference genomes that there are, beside those that clusters list; empty: "
        "hg38, hg19, grch38, grch37 and b37",
    )
    status_files: bool = Field(
        False,
        description="Leave daylily.in_progress, daylily.complete or daylily.error in a workset's "
        "folder, for those who look there; nothing reads them",
    )
    notifiers: list[str] = Field(
        default_factory=list,
        description="Channels that are told, as TYPE-SLUG/NAME: sns-topic, sqs-queue, linear-team, "
        "or any notifier of Prefect, such as slack-webhook; read when a process starts",
    )
    log_patterns: list[LogPattern] = Field(
        default_factory=list,
        description="Messages that end this installation's own programs, before the known ones",
    )
    default_max_retries: int = Field(3, ge=0, le=10, description="Where a workset does not say")
    processor: ProcessorConfig = Field(
        default_factory=lambda: ProcessorConfig(), description="How a processor works"
    )
    placement: PlacementPolicy = Field(
        default_factory=lambda: PlacementPolicy(), description="What placement weighs, in dollars"
    )
    keep: Keep = Field(
        default_factory=lambda: Keep(),
        description="How long files of complete worksets stay on their cluster",
    )
    lease_s: float = Field(
        LEASE_S,
        ge=SHORTEST_LEASE_S,
        le=LONGEST_LEASE_S,
        description="Seconds a process is trusted without a word: at least 3, for it is renewed "
        "three times as often and a busy state DB takes a second; at most a day, for so long a "
        "dead process's worksets lie still",
    )
    deployment: str = Field(
        "process_workset/process-workset",
        description="FLOW/DEPLOYMENT started for each workset with launch='deployment'",
    )

    @field_validator("clusters")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("a cluster is named twice")
        return value

    @field_validator("bucket_events")
    @classmethod
    def _one_each(cls, value: dict[str, str]) -> dict[str, str]:
        if len(set(value.values())) != len(value):
            raise ValueError("two places have one queue, and each would take the other's messages")
        if wrong := [url for url in value.values() if not url.startswith(("https://", "http://"))]:
            raise ValueError(f"{wrong[0]} is no URL of a queue, such as https://sqs.REGION.…")
        return value

    @model_validator(mode="after")
    def _default_is_known(self) -> WorksetSettings:
        if self.default_customer and self.default_customer not in self.customers:
            raise ValueError(f"default_customer {self.default_customer} is not among customers")
        return self

    @property
    def least_needs(self) -> tuple[Estimates, ...]:
        """What the smallest workset of each pipeline needs."""
        return tuple({least_of(pipeline) for pipeline in self.pipelines.values()})

    def limits(self, config: ProcessorConfig, clusters: list[ClusterView]) -> Limits:
        """Every limit in force, for the state DB's admission and Prefect's tags alike."""
        return Limits(
            max_worksets=config.max_concurrent_worksets,
            clusters={view.name: view.max_concurrent_worksets for view in clusters},
            customers={
                name: customer.max_concurrent_worksets
                for name, customer in self.customers.items()
                if customer.max_concurrent_worksets is not None
            },
        )

    @property
    def budgets_usd(self) -> dict[str, float]:
        """US dollars a month, of the customers that have a budget."""
        all_ = {name: customer.budget_usd_per_month for name, customer in self.customers.items()}
        return {name: usd for name, usd in all_.items() if usd is not None}

    @property
    def weights(self) -> dict[str, float]:
        """The customers that are taken, with the weight of each in sharing."""
        return {name: customer.weight for name, customer in self.customers.items()}

    def export_root(self, customer_id: str, uri: str) -> str:
        """The operator's place that an export of this customer to `uri` lies in; empty: none."""
        own = self.customers[customer_id].exports if customer_id in self.customers else ()
        if own:
            return next((root for root in own if lies_below(uri, root)), "")
        for root in self.export_roots:
            # what the operator named is trusted; CUSTOMER below it may be anybody's link
            if lies_below(uri, f"{root.rstrip('/')}/{customer_id}"):
                return root
        return ""

    def pipeline(self, name: str) -> Pipeline:
        """The commands of a pipeline.

        Raises:
            ConfigurationError: the settings have no such pipeline.
        """
        if name not in self.pipelines:
            raise ConfigurationError(
                f"pipeline {name!r} is not in the settings; "
                f"write one of {few(sorted(self.pipelines))}"
            )
        return self.pipelines[name]
