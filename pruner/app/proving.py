"""The proof of what is in use: read, checked, and turned into tags of ours."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pruner.app.options import InUseOptions
from pruner.plan.in_use import Proof, check_planned, check_proof, demand_of, demanded_by, resolver
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

    def in_use(self, registries: Mapping[str, RegistryFacts], others: Collection[str] = ()) -> InUse:
        """What is in use of ``registries``; RefusedError where that cannot be said."""
        return resolver(registries, self.demand, others).resolve(self.proof.uses)


def expires_at(header: Header, proved: Proved | None, max_age: int | None = None) -> int | None:
    """When what is known of what is in use gets too old, in epoch milliseconds; None if nobody asked."""
    if proved is not None:
        return min((source.read_at for source in proved.proof.sources), default=0) + proved.demand.max_age
    if header.in_use is None:
        return None
    demand = demanded_by(header.in_use, max_age)
    return min(header.in_use.read_at.values(), default=0) + demand.max_age


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
