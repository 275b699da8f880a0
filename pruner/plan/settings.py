"""Where the registries of a plan are."""

from collections.abc import Mapping

from pruner.errors import RefusedError
from pruner.plan.records import RegistryFacts
from pruner.policy.policy import RegistrySettings


def check_endpoint(registries: Mapping[str, RegistryFacts], endpoint: str | None) -> None:
    """Raise RefusedError unless a plan is for ``endpoint`` (None: no other endpoint is asked for)."""
    for registry, facts in registries.items():
        if endpoint is not None and facts.endpoint != endpoint:
            raise RefusedError(
                f"refused, nothing was deleted: the plan is for registry '{registry}' at {facts.endpoint}, "
                f"not at {endpoint}"
            )


def settings_of(registries: Mapping[str, RegistryFacts]) -> dict[str, RegistrySettings]:
    """The registries' settings as a plan states them."""
    return {
        registry: RegistrySettings(
            "plan",
            facts.region,
            facts.endpoint if facts.type == "ncr" else None,
            facts.profile,
            facts.concurrency,
            facts.requests_per_second,
            type=facts.type,
            url=facts.endpoint if facts.type == "oci" else None,
            images=facts.images,
            delete_by=facts.delete_by,
            v2_url=facts.v2_url,
            graph=facts.graph,
            also_pulled_from=facts.pulled_from,
        )
        for registry, facts in registries.items()
    }
