"""The document of policy tests, format version 1: small inventories and what is expected of them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, model_validator
from pydantic import Tag as UnionTag

from pruner import names
from pruner.errors import InputError
from pruner.policy import patterns
from pruner.policy.document import Duration, Size, TagName


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _image(value: str) -> str:
    registry, _, image = value.partition("/")
    try:
        names.check_registry(registry)
        names.check_image(image)
    except InputError as error:
        raise ValueError(f"{error}; write registry/image") from None
    return value


def _reference(value: str) -> str:
    path, colon, tag = value.rpartition(":")
    if not colon or "/" not in path:
        raise ValueError(f"'{names.printable(value)}' is not registry/image:tag (globs are fine)")
    for glob in (path, tag):
        patterns.check_glob(glob)
    return value


def _moment(value: str) -> str:
    from datetime import datetime

    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"'{names.printable(value)}' is not a time; write 2026-12-01") from None
    return value


Moment = Annotated[str, AfterValidator(_moment)]
Reference = Annotated[str, AfterValidator(_reference)]


class TagDocument(_Model):
    """One tag of a test's inventory. Without ``age`` or ``updated`` its age is unknown."""

    tag: TagName
    age: Duration | None = None
    updated: Moment | None = None
    pulled: Duration | None = Field(None, description="How long ago it was last pulled.")
    digest: str | None = Field(None, description="Equal texts are equal digests; own one by default.")
    size: Size | None = None

    @model_validator(mode="after")
    def _one_time(self) -> "TagDocument":
        if self.age is not None and self.updated is not None:
            raise ValueError("'age' and 'updated' both say when; write one of them")
        return self


def _text_or_map(value: Any) -> str:
    return "<map>" if isinstance(value, dict | TagDocument) else "<text>"


TagItem = Annotated[
    Annotated[TagName, UnionTag("<text>")] | Annotated[TagDocument, UnionTag("<map>")],
    Discriminator(_text_or_map),
]


class ExpectDocument(_Model):
    """What must come out.

    ``deleted`` names exactly the tags that go; ``goes`` and ``stays`` are globs that must match something.
    """

    deleted: list[Reference] | None = None
    goes: Annotated[list[Reference], Field(min_length=1)] | None = None
    stays: Annotated[list[Reference], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _something(self) -> "ExpectDocument":
        if self.deleted is None and self.goes is None and self.stays is None:
            raise ValueError("nothing is expected; write 'deleted', 'goes' or 'stays'")
        return self


class TestDocument(_Model):
    """One test."""

    __test__ = False

    name: Annotated[str, Field(min_length=1)]
    now: Moment | None = None
    inventory: Annotated[dict[Annotated[str, AfterValidator(_image)], list[TagItem]], Field(min_length=1)]
    expect: ExpectDocument


class TestsDocument(_Model):
    """A file of policy tests."""

    __test__ = False

    version: Literal[1]
    tests: Annotated[list[TestDocument], Field(min_length=1)]
