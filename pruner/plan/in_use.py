"""Whether it is proven what is in use, and which of our tags and digests that is."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from pruner import names
from pruner.errors import InputError, RefusedError
from pruner.plan.guards import CLOCK_TOLERANCE_MS
from pruner.plan.in_use_file import Source, Use, read_in_use
from pruner.plan.records import InUseFacts, RegistryFacts
from pruner.policy.duration import format_age
from pruner.policy.in_use import DEFAULT_MAX_AGE_MS, ImageUse, InUse, InUseDemand
from pruner.policy.patterns import Matcher, compile_globs
from pruner.policy.policy import PolicySet
from pruner.references import MAX_LENGTH, TOO_LONG, ImageReference, host_of, is_host, parse_reference
from pruner.registry.ncr.endpoint import NcrHost, ncr_host

SHOWN: Final = 20
_PLACEHOLDER: Final = re.compile(r"[${}<>%\[\]\"']|@@|__")
"""What templates leave in a name that is to be filled in; no literal name has any of it."""
_WORD: Final = re.compile(r"[a-z0-9.-]+")
_HOW_TO_RESOLVE: Final = (
    "say where else a registry is pulled from (also_pulled_from under 'registries'), or that a host is "
    "not ours (other_hosts under 'in_use')"
)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was read of what is in use."""

    sources: tuple[Source, ...] = ()
    uses: Sequence[Use] = ()

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "Proof":
        """The proof in files; InputError for one that is not whole."""
        files = list(read_in_use(paths))
        return cls(
            tuple(source for file in files for source in file.header.sources),
            [use for file in files for use in file.uses],
        )

    @classmethod
    def planned(cls, facts: InUseFacts) -> "Proof":
        """The proof that a plan was made with; what was in use stands in the plan itself."""
        return cls(tuple(Source(name, "file", at) for name, at in facts.read_at.items()))

    @property
    def read_at(self) -> int:
        """When the oldest part of a proof that was checked was read, in epoch milliseconds."""
        return min(source.read_at for source in self.sources)

    def facts(self, demand: InUseDemand) -> InUseFacts:
        """What a plan says of it, so that it is looked at again before the plan is carried out."""
        read = {source.name: source.read_at for source in self.sources}
        return InUseFacts(read, demand.sources, demand.max_age, demand.other_hosts)


def demand_of(policies: PolicySet, max_age: int | None = None) -> InUseDemand | None:
    """What all policies together ask for: all sources, the lowest age; None if none asks for a proof.

    ``max_age``, in milliseconds, is what the command line says.
    """
    asked = [policy.in_use for policy in policies.policies if policy.in_use is not None]
    if not asked:
        return None
    return InUseDemand(
        tuple(sorted({name for demand in asked for name in demand.sources})),
        min([demand.max_age for demand in asked] + ([max_age] if max_age is not None else [])),
        tuple(globs for demand in asked for globs in demand.other_hosts),
    )


def demanded_by(facts: InUseFacts | None, max_age: int | None = None) -> InUseDemand:
    """What a plan asks for that was made with a proof, or what goes without saying."""
    if facts is None:
        return InUseDemand(max_age=DEFAULT_MAX_AGE_MS if max_age is None else max_age)
    return InUseDemand(facts.demanded, min(facts.max_age, max_age or facts.max_age), facts.other_hosts)


def check_proof(proof: Proof | None, demand: InUseDemand, now: int, *, is_live: bool = True) -> None:
    """Raise RefusedError, naming all that is missing, unless ``proof`` is what ``demand`` asks for.

    ``now`` in epoch milliseconds; with ``is_live`` a proof from the future is none.
    """
    covered = {source.name: source for source in (proof.sources if proof is not None else ())}
    problems = [f"nothing says what is in use in '{name}'" for name in demand.sources if name not in covered]
    for source in covered.values():
        problems += _problems_of(source, demand.max_age, now, is_live)
    if not covered and not problems:
        problems.append("nothing says what is in use anywhere")
    if problems:
        how = "write it with pruner in-use and give it with --in-use FILE"
        raise RefusedError(_refusal(problems, how), "in_use")


def _problems_of(source: Source, max_age: int, now: int, is_live: bool) -> Iterator[str]:
    name = names.printable(source.name)
    for missing in source.missing:
        yield f"'{name}' was not read: {names.printable(missing, 300)}"
    age = now - source.read_at
    if age > max_age:
        yield f"what is in use in '{name}' was read {format_age(age)} ago; the limit is {format_age(max_age)}"
    elif is_live and age < -CLOCK_TOLERANCE_MS:
        yield f"what is in use in '{name}' was read at a time that is yet to come"


def _refusal(problems: Sequence[str], how: str) -> str:
    more = [f"  … and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    lines = "\n".join([*(f"  {text}" for text in problems[:SHOWN]), *more])
    return f"refused, nothing was deleted: it is not proven what is in use:\n{lines}\n{how}"


@dataclass(slots=True)
class Resolver:
    """From references to our registries and images.

    ``places`` are where the images of each registry are pulled from, as ``host[/prefix]``; ``others`` hosts
    of other registries of the account, ``other_hosts`` globs of hosts that are not ours though they look so.
    """

    places: Mapping[str, Collection[str]]
    others: Collection[str] = ()
    other_hosts: Sequence[Sequence[str]] = ()
    _split: list[tuple[str, str, str]] = field(init=False, default_factory=list)
    _is_other: Matcher = field(init=False)

    def __post_init__(self) -> None:
        matchers = [compile_globs(globs) if globs else lambda host: False for globs in self.other_hosts]
        self._is_other = lambda host: bool(matchers) and all(matches(host) for matches in matchers)
        for registry, places in self.places.items():
            for place in places:
                host, _, prefix = place.partition("/")
                self._split.append((host, f"{prefix}/" if prefix else "", registry))

    def resolve(self, uses: Iterable[Use]) -> InUse:
        """What is in use of ours; RefusedError naming every reference of which that cannot be said."""
        found: dict[tuple[str, str], ImageUse] = {}
        problems: dict[str, None] = {}
        for use in uses:
            if len(use.reference) > MAX_LENGTH:
                problems[_problem(use, TOO_LONG)] = None
                continue
            try:
                reference = parse_reference(use.reference)
            except InputError:
                if self._may_be_ours(use.reference):
                    problems[_problem(use, "is not a whole reference")] = None
                continue
            images = self._images(reference)
            for image in images:
                _note(found.setdefault(image, ImageUse()), reference, use)
            if not images and (self._looks_like_ours(reference.host) or self._names_ours(reference.path)):
                problems[_problem(use, "looks like a registry of ours, and is none that is known")] = None
        if problems:
            raise RefusedError(_refusal(list(problems), _HOW_TO_RESOLVE), "in_use")
        return found

    def _images(self, reference: ImageReference) -> list[tuple[str, str]]:
        return [
            (registry, reference.path.removeprefix(prefix))
            for host, prefix, registry in self._split
            if host == reference.host and reference.path.startswith(prefix)
        ]

    def _may_be_ours(self, text: str) -> bool:
        """Whether something that is no reference may stand for an image of ours."""
        if _PLACEHOLDER.search(_without_tag(text.strip())) or self._names_ours(text):
            return True
        host = host_of(text.strip())
        return not is_host(host) or self._looks_like_ours(host)

    def _names_ours(self, text: str) -> bool:
        """Whether a host of ours stands somewhere in ``text``."""
        found = set(_WORD.findall(text.lower()))
        # A host of one word, as in a network of containers, is a word like any other.
        return any("." in ours and _name(ours) in found for ours, _, _ in self._split)

    def _looks_like_ours(self, host: str) -> bool:
        if self._is_other(host):
            return False
        if any(_name(host) == _name(ours) and host != ours for ours, _, _ in self._split):
            return True
        ncr = ncr_host(_name(host))
        if ncr is None or host in self.others:
            return False
        # A private host has a name of its own, which says nothing of the registry.
        return ncr is NcrHost.PRIVATE or host.partition(".")[0] in self.places


def _without_tag(text: str) -> str:
    """``text`` without its tag, or without the placeholder that stands for it: ``${…}`` or ``{{…}}``."""
    starts = [text.rfind(":")] if ":" in text and "/" not in text.rpartition(":")[2] else []
    for opening, closing in ((":${", "}"), (":{{", "}}")):
        if text.endswith(closing):
            # A placeholder has no closing bracket inside.
            before = text.rfind("}", 0, -len(closing))
            starts.append(text.find(opening, before + 1))
    return text[: min((start for start in starts if start >= 0), default=len(text))]


def _note(known: ImageUse, reference: ImageReference, use: Use) -> None:
    who = names.printable(use.workload, 120)
    known.add(reference.tag, reference.digest, who)
    known.add(None, use.digest, who, runs_unknown=use.runs_unknown)


def _problem(use: Use, what: str) -> str:
    text = names.printable(use.reference, 200)
    return f"'{text}' of {names.printable(use.workload, 120)} in '{names.printable(use.source)}' {what}"


def _name(host: str) -> str:
    return host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host


def resolver(
    facts: Mapping[str, RegistryFacts], demand: InUseDemand, others: Collection[str] = ()
) -> Resolver:
    """A resolver for a plan's registries; RefusedError where nobody says where they are pulled from."""
    places = {name: known.pulled_from for name, known in facts.items()}
    unknown = [name for name, known in places.items() if not known]
    if unknown:
        what = f"nothing says where workloads pull the images of {', '.join(unknown)} from"
        raise RefusedError(_refusal([what], _HOW_TO_RESOLVE), "in_use")
    return Resolver(places, others, demand.other_hosts)


def with_places(facts: RegistryFacts, places: Iterable[str]) -> RegistryFacts:
    """``facts`` with all the places where the registry's images are pulled from."""
    return msgspec.structs.replace(facts, pulled_from=tuple(dict.fromkeys((*facts.pulled_from, *places))))
