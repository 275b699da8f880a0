"""Cleanup policies of Google Artifact Registry.

Source: "Configure cleanup policies" of its documentation. A version (an image) that a delete policy matches
goes, unless a keep policy matches it as well. Prefixes are alternatives; different conditions must all hold.
"""

import re
from typing import Any, Final

from pruner.errors import InputError
from pruner.policy.imports.draft import (
    EVERYTHING,
    Conditions,
    Draft,
    DraftPolicy,
    DraftRule,
    both,
    glob_problem,
    parsed_json,
    policy_name,
    tagged,
    texts,
    whole_number,
)

_DURATION: Final = re.compile(r"([0-9]{1,12})(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_KEYS: Final = {"name", "action", "condition", "mostRecentVersions", "id"}
_CONDITIONS: Final = {"tagState", "tagPrefixes", "packageNamePrefixes", "olderThan", "newerThan"}


def read(draft: Draft, text: str) -> None:
    """Fill ``draft`` with cleanup policies: the file that ``gcloud`` takes, or a repository's own."""
    document = parsed_json(draft.file, text)
    if isinstance(document, dict) and isinstance(document.get("cleanupPolicies"), dict):
        document = list(document["cleanupPolicies"].values())
    if not isinstance(document, list) or not document or not all(isinstance(i, dict) for i in document):
        raise InputError(f"{draft.file}: not a list of cleanup policies of Artifact Registry")
    for number, item in enumerate(document, 1):
        _read_policy(draft, item, number)


def _read_policy(draft: Draft, item: dict[str, Any], number: int) -> None:
    name = str(item.get("name") or item.get("id") or number)
    where, action = f"policy '{name}'", item.get("action")
    kind = str(action.get("type") if isinstance(action, dict) else action).lower()
    if kind not in ("delete", "keep") or set(item) - _KEYS:
        draft.problem(where, "it is not what Artifact Registry documents")
        return
    refuse = draft.cannot_delete if kind == "delete" else draft.problem
    recent, condition = item.get("mostRecentVersions"), item.get("condition")
    asked = recent if recent is not None else condition
    if not isinstance(asked, dict) or (recent is not None and (kind == "delete" or condition is not None)):
        draft.problem(where, "it is not what Artifact Registry documents")
        return
    conditions = _recent(asked) if recent is not None else _condition(asked)
    images = _images(draft, asked)
    if isinstance(conditions, str) or isinstance(images, str):
        refuse(where, conditions if isinstance(conditions, str) else str(images))
        return
    policy = DraftPolicy(policy_name(name, number), f"Artifact Registry, {kind} {where}", images)
    (policy.delete if kind == "delete" else policy.keep).append(DraftRule(where, conditions))
    draft.policies.append(policy)


def _images(draft: Draft, asked: dict[str, Any]) -> list[str] | str:
    prefixes = texts(asked.get("packageNamePrefixes"))
    if prefixes is None:
        return "'packageNamePrefixes' must be a list of texts"
    if draft.images:
        return "--images cannot stand beside packageNamePrefixes" if prefixes else draft.images
    globs = [f"{prefix}**" for prefix in prefixes]
    return next(filter(None, map(glob_problem, globs)), None) or globs or [EVERYTHING]


def _recent(asked: dict[str, Any]) -> Conditions | str:
    count = whole_number(asked.get("keepCount"))
    if count is None or set(asked) - {"keepCount", "packageNamePrefixes"}:
        return "'mostRecentVersions' has 'keepCount' and 'packageNamePrefixes' only"
    return {"tags": ["**"], "newest": count, "count_by": "digest"}


def _condition(asked: dict[str, Any]) -> Conditions | str:
    """The conditions, or why they cannot be said."""
    if unknown := sorted(set(asked) - _CONDITIONS):
        return f"'{unknown[0]}' cannot be said"
    state = asked.get("tagState", "any")
    state = state.lower() if isinstance(state, str) else repr(state)
    if state == "untagged":
        return "it is for images without a tag"
    if state not in ("any", "tagged", "tag_state_unspecified"):
        return f"the unknown tagState '{state}'"
    prefixes = texts(asked.get("tagPrefixes"))
    if prefixes is None:
        return "'tagPrefixes' must be a list of texts"
    globs = [f"{prefix}*" for prefix in prefixes]
    for glob in globs:
        if (problem := glob_problem(glob)) is not None:
            return problem
    found = [tagged(globs) if globs else {"tags": ["**"]}]
    for key, ours in (("olderThan", "older_than"), ("newerThan", "newer_than")):
        if asked.get(key) is not None:
            duration = _duration(asked[key])
            if duration is None:
                return f"'{key}: {asked[key]}' is not a whole number of minutes, hours or days"
            found.append({ours: duration})
    return both(*found)


def _duration(text: Any) -> str | None:
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    seconds = int(match[1]) * _SECONDS[match[2]]
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return None
