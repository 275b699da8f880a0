"""The policy document, format version 1: types, bounds and the source of its JSON Schema.

Pydantic checks the shape of a whole document and reports every error at once; ``loader`` turns those
errors into ``file:line:column`` sentences and ``compile`` turns the document into policies.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic import Tag as UnionTag

from pruner import names
from pruner.errors import InputError
from pruner.policy import patterns
from pruner.policy.duration import DURATION_RULE, parse_duration
from pruner.policy.semver import parse_range
from pruner.policy.yaml_source import NOTHING
from pruner.references import normal_place
from pruner.registry.oci.location import parse_location

Region = Literal["KR", "SGN", "JPN", "gov-KR", "gov-KRS", "fin-KR"]

_SIZE = re.compile(r"([0-9]{1,9})(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def _need_text(rule: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is {_kind(value)}; write {rule}")
    return value


def _duration(value: Any) -> int:
    return parse_duration(_need_text(DURATION_RULE, value))


def _size(value: Any) -> int:
    match = _SIZE.fullmatch(_need_text("a size with its unit, as in 500MB or 2GiB", value))
    if match is None:
        raise ValueError(f"'{value}' is not a size; write a whole number and one of {', '.join(_SIZE_UNITS)}")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_shown(value)} is {_kind(value)}; write requests per second, as in 50 or 0.5")
    return float(value)


def format_size(size: int) -> str:
    """A size as a policy writes it, in the largest unit that is exact."""
    unit = max(
        (name for name, factor in _SIZE_UNITS.items() if size % factor == 0), key=_SIZE_UNITS.__getitem__
    )
    return f"{size // _SIZE_UNITS[unit]}{unit}"


def _version(value: Any) -> Any:
    if type(value) is not int:
        raise ValueError(f"{_shown(value)} is {_kind(value)}; write the number 1")
    return value


def _percent(value: Any) -> float:
    match = re.fullmatch(r"([0-9]{1,3})%", _need_text("a percentage, as in 60%", value))
    if match is None or not 1 <= int(match[1]) <= 100:
        raise ValueError(f"'{value}' is not a percentage; write 1% to 100%")
    return int(match[1]) / 100


def _glob(value: str) -> str:
    patterns.check_glob(value)
    return value


def _regex(value: str) -> str:
    patterns.compile_regex(value)
    return value


def _group(value: str) -> str:
    patterns.capture(value)
    return value


def _range(value: str) -> str:
    parse_range(value)
    return value


def _name(check: Any) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            check(value)
        except names.InvalidNameError as error:
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(validate)


def _image_and_tag(value: str) -> str:
    image, colon, tag = value.rpartition(":")
    if not colon:
        raise ValueError(f"'{names.printable(value)}' has no tag; write image:tag")
    try:
        names.check_image(image)
        names.check_tag(tag)
    except names.InvalidNameError as error:
        raise ValueError(str(error)) from None
    return value


def _hold(value: str) -> str:
    image, colon, tag = value.rpartition(":")
    if not colon:
        raise ValueError(f"'{names.printable(value)}' has no tag; write image:tag, where both may be globs")
    for glob in (image, tag):
        if glob.startswith("!"):
            raise ValueError("a hold cannot exclude; remove the '!'")
        patterns.check_glob(glob)
    return value


def _oci_url(value: str) -> str:
    try:
        # Whether plain http is allowed is for the command line to say.
        parse_location(value, allow_plain_http=True)
    except InputError as error:
        raise ValueError(str(error)) from None
    return value


def _place(value: str) -> str:
    try:
        normal_place(value)
    except InputError as error:
        raise ValueError(str(error)) from None
    return value


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    kinds |= {list: "a list", dict: "a map"}
    return kinds.get(type(value), "no value")


def _shown(value: Any) -> str:
    return "nothing" if value is NOTHING else f"'{names.printable(str(value), 60)}'"


def _pattern_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[int, BeforeValidator(_duration), _pattern_schema(r"^[0-9]{1,8}[mhdw]$", "14d")]
Size = Annotated[int, BeforeValidator(_size), _pattern_schema(f"^{_SIZE.pattern}$", "500MB")]
Percent = Annotated[float, BeforeValidator(_percent), _pattern_schema("^[0-9]{1,3}%$", "60%")]
Glob = Annotated[str, Field(min_length=1), AfterValidator(_glob)]
Regex = Annotated[str, Field(min_length=1), AfterValidator(_regex)]
Group = Annotated[str, Field(min_length=1), AfterValidator(_group)]
Rate = Annotated[float, BeforeValidator(_rate), Field(gt=0, le=100_000)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")]
OciUrl = Annotated[Url, AfterValidator(_oci_url)]
PullPlace = Annotated[str, Field(min_length=1), AfterValidator(_place)]
RegistryName = Annotated[str, _name(names.check_registry)]
ImageName = Annotated[str, _name(names.check_image)]
TagName = Annotated[str, _name(names.check_tag)]


class _Model(BaseModel):
    # Only whole documents are validated: to build each part by itself as well would take twice as long.
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, populate_by_name=False, defer_build=True
    )


class RegexDocument(_Model):
    """A regular expression in RE2 syntax that must match the whole tag name."""

    regex: Regex


class SemverDocument(_Model):
    """Tags that are semantic versions, as 1.2.3, v1.2.3 or v1.2.3-rc.1. Other tags are not selected."""

    prerelease: bool | None = None
    range: Annotated[str, AfterValidator(_range)] | None = None
    newest: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    per: Literal["major", "minor"] | None = None

    @model_validator(mode="after")
    def _per_needs_newest(self) -> "SemverDocument":
        if self.per is not None and self.newest is None:
            raise ValueError("'per' needs 'newest': the newest N versions per major or minor")
        return self


def _globs_or_regex(value: Any) -> str:
    return "<regex>" if isinstance(value, dict | RegexDocument) else "<globs>"


TagPatterns = Annotated[
    Annotated[list[Glob], Field(min_length=1), UnionTag("<globs>")]
    | Annotated[RegexDocument, UnionTag("<regex>")],
    Discriminator(_globs_or_regex),
]


class RuleDocument(_Model):
    """Conditions that must all hold for a tag to be selected by the rule."""

    tags: TagPatterns | None = Field(None, description="Globs of tag names, or {regex: …}.")
    older_than: Duration | None = Field(None, description="Last updated longer ago than this.")
    newer_than: Duration | None = Field(None, description="Last updated at most this long ago.")
    pulled_within: Duration | None = Field(None, description="Last pulled at most this long ago.")
    not_pulled_for: Duration | None = Field(
        None, description="Last pulled longer ago than this. An unknown last pull is not 'never'."
    )
    newest: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="Rank among all tags of the image that the rule's other conditions select."
    )
    group_by: Group | None = Field(
        None, description="With 'newest': rank within each value of the one group of this RE2 expression."
    )
    count_by: Literal["tag", "digest"] | None = Field(
        None, description="With 'newest': count tags (the default), or the digests that they point to."
    )
    semver: SemverDocument | None = None
    larger_than: Size | None = None
    digest_shared_with: Annotated[list[Glob], Field(min_length=1)] | None = Field(
        None, description="Globs: another tag of the image that matches has the same digest."
    )
    orphaned: Literal[True] | None = Field(
        None, description="A signature, say, whose image is not there any more. Needs an oci registry."
    )
    any: Annotated[list["RuleDocument"], Field(min_length=1)] | None = None
    all: Annotated[list["RuleDocument"], Field(min_length=1)] | None = None
    not_: "RuleDocument | None" = Field(None, alias="not")

    @model_validator(mode="after")
    def _conditions_fit(self) -> "RuleDocument":
        if not self.model_fields_set or all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError("a rule without a condition would select every tag; write a condition")
        if self.orphaned and (self.newest is not None or self.semver is not None):
            raise ValueError("'orphaned' cannot be ranked; remove 'newest' or 'semver'")
        inner = [*(self.any or ()), *(self.all or ()), *([self.not_] if self.not_ else ())]
        if any(rule.orphaned for rule in inner):
            raise ValueError("'orphaned' belongs to the rule itself, not into 'any', 'all' or 'not'")
        if self.group_by is not None and self.newest is None:
            raise ValueError("'group_by' needs 'newest': the newest N of each group")
        if self.count_by is not None and self.newest is None:
            raise ValueError("'count_by' needs 'newest': what the newest N are")
        if self.newest is not None and self.semver is not None and self.semver.newest is not None:
            raise ValueError("'newest' and 'newest' of 'semver' rank differently; write one of them")
        return self


class LimitsDocument(_Model):
    """Guards: when one is exceeded, the run refuses before the first DELETE."""

    max_deletions: Annotated[int, Field(ge=0)] | None = Field(None, description="Most deletions of a run.")
    max_deletions_per_image: Annotated[int, Field(ge=0)] | None = None
    max_deletions_per_registry: Annotated[int, Field(ge=0)] | None = None
    max_share: Percent | None = Field(None, description="Largest share of an image's tags that may go.")
    keep_at_least: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Fewest tags that stay in each image. 0 must be written to empty an image."
    )


class ImageTagsDocument(_Model):
    """Explicit targets of one image."""

    image: ImageName
    tags: Annotated[list[TagName], Field(min_length=1)]


def _text_or_map(value: Any) -> str:
    return "<map>" if isinstance(value, dict | ImageTagsDocument) else "<text>"


TargetDocument = Annotated[
    Annotated[str, AfterValidator(_image_and_tag), UnionTag("<text>")]
    | Annotated[ImageTagsDocument, UnionTag("<map>")],
    Discriminator(_text_or_map),
]


class InUseDocument(_Model):
    """The proof of what is in use, from pruner in-use, without which nothing goes."""

    clusters: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        description="The clusters, or other sources, that it has to cover."
    )
    max_age: Duration | None = Field(None, description="How old it may be (default 2h).")
    other_hosts: Annotated[list[Glob], Field(min_length=1)] | None = Field(
        None, description="Hosts that look like one of our registries and are none."
    )


class PolicyDocument(_Model):
    """One policy: either 'images' with 'delete' rules, or explicit 'targets'."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
    registry: RegistryName
    images: Annotated[list[Glob], Field(min_length=1)] | None = None
    delete: Annotated[list[RuleDocument], Field(min_length=1)] | None = None
    keep: Annotated[list[RuleDocument], Field(min_length=1)] | None = None
    targets: Annotated[list[TargetDocument], Field(min_length=1)] | None = None
    limits: LimitsDocument | None = None
    hold: list[Annotated[str, AfterValidator(_hold)]] | None = None
    undo: bool | None = Field(
        None, description="true: keep the manifest of each tag before it is deleted, for pruner undo."
    )
    in_use: InUseDocument | None = Field(
        None, description="Ask for a proof of what is in use; what is in use stays."
    )
    shared_digest: Literal["keep", "delete"] | None = Field(
        None, description="keep (default): a tag that shares its digest with a kept tag is kept."
    )

    @model_validator(mode="after")
    def _rules_or_targets(self) -> "PolicyDocument":
        if self.targets is not None:
            for key in ("images", "delete", "keep"):
                if getattr(self, key) is not None:
                    raise ValueError(f"'targets' and '{key}' cannot stand in one policy; write two policies")
        if any(rule.orphaned for rule in self.keep or ()):
            raise ValueError("'orphaned' is for delete rules: what nobody deletes stays anyway")
        if self.targets is None and (self.images is None or (self.delete is None and self.keep is None)):
            raise ValueError("a policy needs 'images' and 'delete', or 'targets'; 'keep' may stand alone")
        return self


class RegistryDocument(_Model):
    """Connection facts of a registry. Never secrets."""

    type: Literal["ncr", "oci"] | None = Field(
        None, description="ncr (default): NAVER Cloud's API. oci: any registry of the OCI specification."
    )
    region: Region | None = None
    endpoint: Url | None = None
    url: OciUrl | None = Field(
        None, description="Of an oci registry; its path is the namespace of its images."
    )
    images: Annotated[list[ImageName], Field(min_length=1)] | None = Field(
        None, description="The images of an oci registry that does not list them."
    )
    v2_url: OciUrl | None = Field(
        None, description="Where an NCR registry speaks the Docker Registry API, if not at its usual name."
    )
    graph: bool | None = Field(
        None, description="true: read the manifests of an NCR registry, for what hangs together."
    )
    also_pulled_from: Annotated[list[PullPlace], Field(min_length=1)] | None = Field(
        None, description="Other hosts, as host or host/prefix, where workloads pull its images from."
    )
    delete_by: Literal["auto", "tag", "digest"] | None = Field(
        None, description="What an oci registry deletes: a tag, or the manifest with all its tags."
    )
    profile: Annotated[str, Field(min_length=1)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=512)] | None = None
    requests_per_second: Rate | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "RegistryDocument":
        if self.region is not None and self.endpoint is not None:
            raise ValueError("'region' and 'endpoint' both say where the registry is; write one of them")
        is_oci = self.type == "oci"
        if is_oci and self.url is None:
            raise ValueError("a registry of type oci needs 'url', as in https://registry.example.com")
        of_ncr = ("region", "endpoint", "profile", "v2_url", "graph")
        for key in of_ncr if is_oci else ("url", "images", "delete_by"):
            if getattr(self, key) is not None:
                raise ValueError(f"'{key}' does not belong to a registry of type {self.type or 'ncr'}")
        return self


class Document(_Model):
    """A policy file of pruner, format version 1."""

    version: Annotated[Literal[1], BeforeValidator(_version)]
    registries: dict[RegistryName, RegistryDocument] | None = None
    policies: Annotated[list[PolicyDocument], Field(min_length=1)]


def _without_null(schema: Any) -> Any:
    """A key may be absent, but not without a value: take ``null`` out of everything that is optional."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    plain = {
        key: _without_null(value) for key, value in schema.items() if not (key == "default" and value is None)
    }
    only = plain.get("anyOf", ())
    return {**{k: v for k, v in plain.items() if k != "anyOf"}, **only[0]} if len(only) == 1 else plain


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy file, for editors."""
    schema = _without_null(Document.model_json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ncr-pruner:policy:1",
        **schema,
    }
