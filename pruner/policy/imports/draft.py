"""A policy file in the making: policies with a comment per rule, and what could not be said."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import yaml

from pruner import names
from pruner.errors import InputError
from pruner.policy import patterns
from pruner.policy.yaml_source import MAX_BYTES

Conditions = dict[str, Any]
"""A rule as a policy writes it."""
EVERYTHING: Final = "**"
_UNBOUNDED: Final = 1 << 30


class _Dumper(yaml.SafeDumper):
    """Without anchors: a rule is read by people, and policies may have none."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


@dataclass(slots=True)
class DraftRule:
    """One rule, and the sentence that says where it came from."""

    comment: str
    conditions: Conditions


@dataclass(slots=True)
class DraftPolicy:
    """One policy."""

    name: str
    comment: str
    images: list[str]
    delete: list[DraftRule] = field(default_factory=list)
    keep: list[DraftRule] = field(default_factory=list)


class Draft:
    """What an importer fills. ``images`` are those asked for on the command line, ``file`` is for messages.

    With ``partial`` deletions that cannot be said are left out, which only ever deletes less.
    """

    def __init__(self, file: str, registry: str, images: Sequence[str], *, partial: bool = False) -> None:
        self.file = file
        self.registry = registry
        self.images = list(images)
        self.policies: list[DraftPolicy] = []
        self.left_out: list[str] = []
        self._partial = partial
        self._problems: list[str] = []

    def problem(self, where: str, what: str) -> None:
        """Something that cannot be said, and without which more would be deleted, or nothing is known."""
        self._problems.append(_shown(f"{self.file}: {where}: {what}"))

    def cannot_delete(self, where: str, what: str) -> None:
        """A deletion that cannot be said."""
        if self._partial:
            self.left_out.append(_shown(f"{where}: {what}"))
        else:
            self.problem(where, f"{what}; --partial leaves it out")

    def text(self) -> str:
        """The policy file; InputError with everything that cannot be said."""
        if self._problems:
            raise InputError("\n".join(self._problems))
        policies = [policy for policy in self.policies if policy.delete or policy.keep]
        if not any(policy.delete for policy in policies):
            raise InputError(f"{self.file}: nothing in it deletes anything that has a tag")
        lines = [f"# Imported from {_shown(self.file)}. Images without a tag are not seen, nor deleted."]
        lines += [f"# Left out: {item}" for item in self.left_out]
        lines += ["version: 1", "policies:"]
        text: list[str] = []
        size = 0
        for line in chain(lines, *map(self._policy, policies)):
            size += len(line)
            if size > MAX_BYTES:
                most = f"{MAX_BYTES // 2**20} MiB"
                raise InputError(f"{self.file}: the policy would be larger than {most}; import it in parts")
            text.append(line)
        return "\n".join(text) + "\n"

    def _policy(self, policy: DraftPolicy) -> Iterator[str]:
        yield from (
            f"  # {_one_line(policy.comment)}",
            f"  - name: {_scalar(policy.name)}",
            f"    registry: {_scalar(self.registry)}",
            f"    images: {json.dumps(policy.images)}",
        )
        for key, rules in (("delete", policy.delete), ("keep", policy.keep)):
            if rules:
                yield f"    {key}:"
            for rule in rules:
                yield f"      # {_one_line(rule.comment)}"
                yield from _listed(rule.conditions)
        yield "    limits: {keep_at_least: 0}"


def _scalar(name: str) -> str:
    """A checked name, in quotes where YAML would read it as a number, say."""
    return name if yaml.safe_load(name) == name else json.dumps(name)


def _listed(conditions: Conditions) -> list[str]:
    """A rule as an item of a list."""
    # Without a width no text is broken: a CI system may take what begins a line for a command.
    text = yaml.dump(conditions, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=_UNBOUNDED)
    first, *rest = text.rstrip("\n").split("\n")
    return [f"      - {first}", *(f"        {line}" for line in rest)]


def _shown(text: str) -> str:
    """Foreign text as a line of a message, or of a comment: a line break would end either."""
    return names.inert(names.printable(text, 1000))


def _one_line(text: str) -> str:
    return names.inert(" ".join("".join(c if c.isprintable() else " " for c in text).split())[:160])


def tagged(globs: Iterable[str]) -> Conditions:
    """The tags of every image that has a tag which matches one of ``globs``."""
    listed = list(globs)
    return {"any": [{"tags": listed}, {"digest_shared_with": listed}]}


def both(*parts: Conditions) -> Conditions:
    """What holds for all of several sets of conditions."""
    kept = [part for part in parts if part]
    return kept[0] if len(kept) == 1 else {"all": kept}


def policy_name(text: str, number: int) -> str:
    """A name that a policy may have, out of any text."""
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in text)[:80].strip("-.")
    return name if name[:1].isalnum() else f"imported-{number}"


def glob_problem(glob: str) -> str | None:
    """Why ``glob`` cannot be one of ours, or None."""
    try:
        patterns.check_glob(glob)
    except ValueError as error:
        return str(error)
    return None


def days(number: int) -> str:
    """A duration of whole days."""
    return f"{number}d"


def parsed_json(file: str, text: str) -> Any:
    """The JSON of a file; InputError if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not JSON: {error}") from None


def texts(value: Any) -> list[str] | None:
    """``value`` if it is a list of texts, an empty one if it is absent, None if it is anything else."""
    if value is None:
        return []
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def whole_number(value: Any, low: int = 1, high: int = 1_000_000) -> int | None:
    """``value`` if it is a whole number of that range."""
    return value if type(value) is int and low <= value <= high else None
