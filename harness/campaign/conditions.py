"""What stops a running campaign, and must be in order before its first injection: `stop_when` as frozen values.

Three forms, told apart by their key: a `measure` of the catalogue, an `http` address that has to answer as wanted, a `promql`
expression. docs/campaigns.md explains every key to people. An address may name hosts, and headers may hold credentials:
both are best written as `${NAME}`, which the environment fills here and nowhere else in a campaign.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Discriminator, Field, SecretStr, Tag, field_validator, model_validator

from harness.documents import Document, Seconds

SHORTEST_S = 2.0
"""Conditions are looked at once a second; what lasts less than two looks cannot be told from one."""


class Condition(Document):
    """What every condition has: a name, and how long it must hold without interruption until it stops the run."""

    name: str = Field(min_length=1, max_length=80)
    for_s: Seconds = Field(alias="for")

    @field_validator("for_s", "over", check_fields=False)
    @classmethod
    def _long_enough(cls, span_s: float | None) -> float | None:
        if span_s is not None and span_s < SHORTEST_S:
            raise ValueError(
                f"{span_s:g}s is too short for what is looked at once a second; write {SHORTEST_S:g}s or more"
            )
        return span_s


class Limited(Condition):
    """A condition that compares a value with a limit; it holds while `value op limit` is true."""

    op: Literal["<", "<=", "==", "!=", ">=", ">"]
    limit: float = Field(allow_inf_nan=False)


class MeasureCondition(Limited):
    """A measure over the last `over` seconds of the run, as the live path tells it."""

    measure: str
    of: str = ""
    over: Seconds | None = None
    """As long as `for`, unless it is given."""
    min_samples: int = Field(default=1, ge=1)

    @property
    def over_s(self) -> float:
        """How far back the measure looks."""
        return self.for_s if self.over is None else self.over

    @property
    def title(self) -> str:
        """What is measured: `create_ratio of read_timeout`."""
        return f"{self.measure} of {self.of}" if self.of else self.measure


class Asked(Condition, ABC):
    """A condition whose answer somebody else gives, over HTTP."""

    ca_file: str | None = None
    insecure: bool = False
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @property
    @abstractmethod
    def address(self) -> str:
        """The address that is asked."""

    @property
    def shown(self) -> str:
        """The address without its query, for people and the record."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    @model_validator(mode="after")
    def _one_way_to_verify(self) -> "Asked":
        if self.insecure and self.ca_file:
            raise ValueError("`insecure` and `ca_file` exclude each other: verify, or do not")
        return self


class HttpCondition(Asked):
    """An address that has to answer with `status` and `contains`; the condition holds while it does not."""

    http: str
    status: int = Field(default=200, ge=100, le=599)
    contains: str = ""

    @field_validator("http")
    @classmethod
    def _is_url(cls, url: str) -> str:
        _address(url)
        return url

    @property
    def address(self) -> str:
        """The address that is asked."""
        return self.http


class PromqlCondition(Asked, Limited):
    """A PromQL expression that gives one number."""

    promql: str = Field(min_length=1)
    url: str

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if _address(url).query:
            raise ValueError("is the address of a Prometheus; the expression belongs into `promql`")
        return url.rstrip("/")

    @property
    def address(self) -> str:
        """The address that is asked."""
        return f"{self.url}/api/v1/query"


def _address(url: str) -> SplitResult:
    """Return the parts of a URL that can be asked; raise `ValueError` for any other, without repeating it."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("is not a URL; write http:// or https:// and a host")
    if parts.username or parts.password:
        raise ValueError(
            "holds a credential, which would be shown; "
            'write it as a header: headers: {Authorization: "Bearer ${TOKEN}"}'
        )
    return parts


def _form(condition: object) -> str | None:
    """Return the tag of the form a condition is written in, None if it is none of them."""
    forms = ("measure", "http", "promql")
    if isinstance(condition, dict):
        return next((f"({key})" for key in forms if key in condition), None)
    return next((f"({key})" for key in forms if hasattr(condition, key)), None)


StopCondition = Annotated[
    Annotated[MeasureCondition, Tag("(measure)")]
    | Annotated[HttpCondition, Tag("(http)")]
    | Annotated[PromqlCondition, Tag("(promql)")],
    Discriminator(
        _form,
        custom_error_type="no_form",
        custom_error_message="says not what to look at; write one of `measure`, `http`, `promql`",
    ),
]
"""One condition, in any of its forms."""
