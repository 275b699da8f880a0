"""The proof of what is in use, as a command needs it: read, checked, and turned into tags of ours."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from pruner.cli.options import duration_option
from pruner.plan.in_use import Proof, check_planned, check_proof, demand_of, demanded_by, resolver
from pruner.plan.records import Header, InUseFacts, RegistryFacts
from pruner.policy.in_use import InUse, InUseDemand
from pruner.policy.policy import PolicySet

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class InUseOptions:
    """What the command line says of it. ``max_age`` in milliseconds."""

    files: tuple[Path, ...] = ()
    max_age: int | None = None


def in_use_options(function: F) -> F:
    """Add them; ``split_in_use`` takes them out of the keywords again."""
    for option in reversed(
        [
            click.option(
                "--in-use",
                "in_use",
                multiple=True,
                type=click.Path(dir_okay=False, path_type=Path),
                envvar="PRUNER_IN_USE",
                metavar="FILE",
                help="What is in use stays; written by pruner in-use (or PRUNER_IN_USE).",
            ),
            click.option(
                "--in-use-max-age",
                callback=duration_option,
                metavar="DURATION",
                help="Refuse if that is older (default 2h, or as policies say).",
            ),
        ]
    ):
        function = option(function)
    return function


def split_in_use(values: dict[str, Any]) -> InUseOptions:
    """Take the options out of a command's keywords."""
    return InUseOptions(values.pop("in_use", ()), values.pop("in_use_max_age", None))


class Proved(NamedTuple):
    """A proof that is all that was asked for."""

    proof: Proof
    demand: InUseDemand

    @property
    def facts(self) -> InUseFacts:
        """What a plan says of it."""
        return self.proof.facts(self.demand)

    def in_use(self, registries: Mapping[str, RegistryFacts], others: Collection[str] = ()) -> InUse:
        """What is in use of ``registries``; RefusedError where that cannot be said."""
        return resolver(registries, self.demand, others).resolve(self.proof.uses)


def prove(policies: PolicySet, options: InUseOptions, now: int, *, is_live: bool = True) -> Proved | None:
    """The proof for a new plan; None if nobody asks for one. RefusedError says what is missing.

    ``now`` in epoch milliseconds.
    """
    demand = demand_of(policies, options.max_age)
    if demand is None and not options.files:
        return None
    demand = demand or demanded_by(None, options.max_age)
    proof = Proof.of(options.files)
    check_proof(proof if options.files else None, demand, now, is_live=is_live)
    return Proved(proof, demand)


def prove_again(header: Header, options: InUseOptions, now: int) -> Proved | None:
    """The proof for carrying a plan out: a new one, or the plan's own (then None) if that is not too old."""
    if not options.files:
        check_planned(header.in_use, now, options.max_age)
        return None
    demand = demanded_by(header.in_use, options.max_age)
    proof = Proof.of(options.files)
    check_proof(proof, demand, now)
    return Proved(proof, demand)
