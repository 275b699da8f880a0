"""Tag retention rules of Harbor, as its API has them.

Source: Harbor's documentation, "Create Tag Retention Rules", and its API's ``RetentionPolicy``. What any rule
retains stays; everything else in the repositories that any rule covers goes, by whole artifacts.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from pruner import names
from pruner.errors import InputError
from pruner.policy.imports.draft import (
    EVERYTHING,
    Conditions,
    Draft,
    DraftPolicy,
    DraftRule,
    both,
    days,
    glob_problem,
    parsed_json,
    tagged,
    whole_number,
)

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_MOST_ALTERNATIVES: Final = 100
_LONGEST_PATTERN: Final = 1000


def read(draft: Draft, text: str) -> None:
    """Fill ``draft`` with a retention policy. Names of repositories are those below the project."""
    document = parsed_json(draft.file, text)
    rules = document.get("rules") if isinstance(document, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise InputError(f"{draft.file}: not a retention policy of Harbor: it has no list of 'rules'")
    if document.get("algorithm", "or") != "or":
        algorithm = names.printable(str(document["algorithm"]), 60)
        raise InputError(f"{draft.file}: the unknown algorithm '{algorithm}'")
    for number, rule in enumerate(rules, 1):
        disabled = rule.get("disabled", False)
        if not isinstance(disabled, bool):
            draft.problem(f"rule {number}", "'disabled' must be true or false")
        elif not disabled:
            _read_rule(draft, rule, number)


def _read_rule(draft: Draft, rule: dict[str, Any], number: int) -> None:
    template = rule.get("template")
    where = f"rule {number} ({template})"
    images = _images(draft, where, rule)
    if rule.get("action") != "retain" or images is None:
        draft.problem(where, "only the action 'retain' for repositories that match can be said")
        return
    policy = DraftPolicy(f"harbor-{number}", f"Harbor, {where}: what it covers and no rule retains", images)
    policy.delete.append(DraftRule("everything that no rule retains", {"tags": ["**"]}))
    draft.policies.append(policy)
    if template == "nothing":
        return
    selected, kept = _selected(draft, where, rule), _kept(rule)
    if kept is None:
        draft.problem(where, "what it retains cannot be said, and without it more would be deleted")
    elif selected is not None:
        policy.keep.append(DraftRule(where, _joined(selected, kept)))


def _joined(selected: Conditions, kept: Conditions) -> Conditions:
    """Ranks are among what is selected, so they stand in the same rule."""
    return {**selected, **kept} if "newest" in kept else both(selected, kept)


def _images(draft: Draft, where: str, rule: dict[str, Any]) -> list[str] | None:
    if draft.images:
        raise InputError("a retention policy of Harbor names its repositories itself; leave out --images")
    found: list[str] = []
    scope = rule.get("scope_selectors")
    selectors = scope.get("repository") if isinstance(scope, dict) else None
    for selector in selectors if isinstance(selectors, list) else []:
        globs = _globs(selector)
        if globs is None or selector.get("decoration") != "repoMatches":
            return None
        found += globs
    return found or None


def _selected(draft: Draft, where: str, rule: dict[str, Any]) -> Conditions | None:
    """The artifacts that have a tag which matches."""
    globs: list[str] = []
    selectors = rule.get("tag_selectors", [])
    for selector in selectors if isinstance(selectors, list) else [{}]:
        own = _globs(selector)
        if own is None or selector.get("decoration") != "matches" or len(selectors) > 1:
            draft.problem(where, "only one selector of tags that match can be said")
            return None
        globs += own
    return {"tags": ["**"]} if not globs or globs == [EVERYTHING] else tagged(globs)


def _kept(rule: dict[str, Any]) -> Conditions | None:
    """Which of the selected artifacts are retained; None if that cannot be said."""
    template = str(rule.get("template"))
    params = rule.get("params") if isinstance(rule.get("params"), dict) else {}
    if template == "always":
        return {}
    number = whole_number((params or {}).get(template))
    if number is None:
        return None
    known: dict[str, Conditions] = {
        "latestPushedK": {"newest": number, "count_by": "digest"},
        "nDaysSinceLastPush": {"newer_than": days(number)},
        "nDaysSinceLastPull": {"pulled_within": days(number)},
    }
    return known.get(template)


def _globs(selector: Any) -> list[str] | None:
    """A doublestar pattern as globs of ours, its alternatives written out; None if that is impossible."""
    pattern = selector.get("pattern") if isinstance(selector, dict) else None
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _LONGEST_PATTERN:
        return None
    if selector.get("kind") != "doublestar":
        return None
    globs: list[str] = []
    for glob in _alternatives(pattern):
        if len(globs) >= _MOST_ALTERNATIVES or set(glob) & set("{}\\!") or glob_problem(glob) is not None:
            return None
        globs.append(glob)
    return globs


def _alternatives(pattern: str) -> Iterator[str]:
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    for part in match[1].split(","):
        yield from _alternatives(pattern[: match.start()] + part.strip() + pattern[match.end() :])
