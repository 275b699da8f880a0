"""Amazon ECR lifecycle policies.

Source: the ECR user guide, "Lifecycle policy properties" and "Examples of lifecycle policies". All rules are
evaluated first; then each image is expired by at most one, the one with the lowest ``rulePriority``. An image
that meets a rule's tagging requirements cannot be expired by a rule of a higher number, but still counts
there. Several patterns or prefixes mean that an image has a tag for each of them.
"""

from typing import Any, Final

from pruner.errors import InputError
from pruner.policy.imports.draft import (
    Conditions,
    Draft,
    DraftPolicy,
    DraftRule,
    both,
    days,
    glob_problem,
    parsed_json,
    tagged,
    texts,
    whole_number,
)

_MOST_RULES: Final = 100
"""ECR allows 50. Each excludes what all rules before it select, so the policy grows with their square."""
_RULE_KEYS: Final = {"rulePriority", "description", "selection", "action"}
_SELECTION_KEYS: Final = {
    "tagStatus",
    "tagPatternList",
    "tagPrefixList",
    "countType",
    "countUnit",
    "countNumber",
    "storageClass",
}


def read(draft: Draft, text: str) -> None:
    """Fill ``draft`` with a lifecycle policy. It belongs to a repository, so the images must be named."""
    document = parsed_json(draft.file, text)
    if isinstance(document, dict) and isinstance(document.get("lifecyclePolicyText"), str):
        # As `aws ecr get-lifecycle-policy` prints it.
        document = parsed_json(draft.file, document["lifecyclePolicyText"])
    rules = document.get("rules") if isinstance(document, dict) else None
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, dict) for rule in rules):
        raise InputError(f"{draft.file}: not an ECR lifecycle policy: it has no list of 'rules'")
    if len(rules) > _MOST_RULES:
        raise InputError(f"{draft.file}: more than {_MOST_RULES} rules, which no ECR lifecycle policy has")
    if not draft.images:
        raise InputError("an ECR lifecycle policy is of one repository; name its images with --images")
    policy = DraftPolicy("ecr-lifecycle", "ECR lifecycle policy", draft.images)
    draft.policies.append(policy)
    higher: list[Conditions] = []
    for rule in sorted(rules, key=lambda rule: _priority(draft, rule)):
        _read_rule(draft, policy, rule, higher)


def _priority(draft: Draft, rule: dict[str, Any]) -> int:
    priority = whole_number(rule.get("rulePriority"), 1, 10**9)
    if priority is None:
        raise InputError(f"{draft.file}: a rule without a whole number as 'rulePriority'")
    return priority


def _read_rule(draft: Draft, policy: DraftPolicy, rule: dict[str, Any], higher: list[Conditions]) -> None:
    where = f"rule {rule['rulePriority']}"
    selection = rule.get("selection")
    if not isinstance(selection, dict) or set(rule) - _RULE_KEYS or set(selection) - _SELECTION_KEYS:
        draft.problem(where, "it is not what ECR documents")
        return
    if selection.get("tagStatus") == "untagged":
        draft.cannot_delete(where, "it is for images without a tag")
        return
    selected = _selected(draft, where, selection)
    if selected is None:
        return
    # Also what is not expired by this rule cannot be by those after it.
    shadowed, limit = list(higher), _limit(draft, where, rule, selection, selected)
    higher.append(selected)
    if limit is not None:
        excluded: Conditions = {"not": {"any": shadowed}} if shadowed else {}
        comment = f"{where}: {rule.get('description') or 'without a description'}"
        policy.delete.append(DraftRule(comment, both(selected, limit, excluded)))


def _selected(draft: Draft, where: str, selection: dict[str, Any]) -> Conditions | None:
    """The images that meet the tagging requirements."""
    patterns, prefixes = texts(selection.get("tagPatternList")), texts(selection.get("tagPrefixList"))
    status = selection.get("tagStatus")
    if status == "any" and patterns == prefixes == []:
        return {"tags": ["**"]}
    globs = patterns or [f"{prefix}*" for prefix in prefixes or ()]
    if status != "tagged" or None in (patterns, prefixes) or bool(patterns) == bool(prefixes):
        draft.problem(where, "it is not what ECR documents")
        return None
    for glob in globs:
        problem = f"'{glob}' is no pattern of ECR" if set(glob) & set("?[]!") else glob_problem(glob)
        if problem is not None:
            draft.problem(where, problem)
            return None
    return both(*(tagged([glob]) for glob in globs))


def _limit(
    draft: Draft, where: str, rule: dict[str, Any], selection: dict[str, Any], selected: Conditions
) -> Conditions | None:
    """Which of the selected images expire."""
    count, kind = whole_number(selection.get("countNumber")), selection.get("countType")
    if rule.get("action") != {"type": "expire"} or selection.get("storageClass", "standard") != "standard":
        draft.cannot_delete(where, "only what expires from the standard storage class can be said")
    elif count is None or kind not in ("imageCountMoreThan", "sinceImagePushed"):
        draft.cannot_delete(where, f"'{kind}' with '{selection.get('countNumber')}' cannot be said")
    elif kind == "imageCountMoreThan":
        return {"not": {**selected, "newest": count, "count_by": "digest"}}
    elif selection.get("countUnit") != "days":
        draft.problem(where, "'sinceImagePushed' counts in days")
    else:
        return {"older_than": days(count)}
    return None
