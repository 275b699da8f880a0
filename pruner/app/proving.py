"""The proof of what is in use: read, checked, and turned into tags of ours."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pruner.app.options import InUseOptions
from pruner.plan.in_use import Proof, check_proof, demand_of, demanded_by, resolver
from pruner.plan.records import Header, InUseFacts, RegistryFacts
from pruner.policy.in_use import InUse, InUseDemand
from pruner.policy.policy import PolicySet


class Proved(NamedTuple):
    """A proof that is all that was asked for."""

    proof: Proof
    demand: InUseDemand

    @property
    def facts(self) -> InUseFacts:
        """What a plan says of it."""
        return self.proof.facts(self.demand)

    @property
    def expires_at(self) -> int:
        """When it gets too old, in epoch milliseconds."""
        return self.proof.read_at + self.demand.max_age

    def check(self, now: int) -> None:
        """Raise RefusedError if it is not, or not any more, what is asked for."""
        check_proof(self.proof, self.demand, now)

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
    """The proof for carrying a plan out: a new one, or the plan's own; None if it has none.

    RefusedError says what is missing, or too old.
    """
    if options.files:
        proof = Proof.of(options.files)
    elif header.in_use is not None:
        proof = Proof.planned(header.in_use)
    else:
        return None
    proved = Proved(proof, demanded_by(header.in_use, options.max_age))
    proved.check(now)
    return proved
