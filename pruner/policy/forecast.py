"""What will become deletable day by day if nothing else is pushed. Pure."""

from collections.abc import Iterator, Sequence

from pruner.model import Action, Decision, Tag
from pruner.policy.image_policies import ImagePolicies
from pruner.policy.retention import decide

DAY_MS = 86_400_000


def forecast_image(
    tags: Sequence[Tag], policies: ImagePolicies, now: int, days: int
) -> Iterator[tuple[int, Decision]]:
    """Day (0 is now) and decision of each tag of an image that goes within ``days``.

    Each day is decided on what the days before have left, as daily runs would.
    """
    left = list(tags)
    for day in range(days + 1):
        going = [
            decision
            for decision in decide(left, policies, now + day * DAY_MS)
            if decision.action is Action.DELETE
        ]
        if going:
            gone = {decision.tag.name for decision in going}
            left = [tag for tag in left if tag.name not in gone]
            yield from ((day, decision) for decision in going)
