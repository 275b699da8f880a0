"""The grammar of registry, image and tag names, and how a hostile name is shown.

Names are checked once, where they enter; everything after trusts them. Image and tag names follow the
Docker reference grammar; a registry name is one DNS label, since it is part of the registry's host name.
"""

import re
from functools import lru_cache
from typing import Final

from pruner.errors import InputError

_REGISTRY: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE_PART: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(rf"{_IMAGE_PART}(?:/{_IMAGE_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ATTACHMENT: Final = re.compile(r"sha256-([0-9a-f]{64})\.(?:sig|att|sbom)")
_REFERRERS: Final = re.compile(r"sha256-([0-9a-f]{64})")
_CI_COMMAND: Final = re.compile(r"^ *:(?=:)|#(?=#(?:\[|vso\[|teamcity\[))", re.MULTILINE | re.IGNORECASE)
_PATH_MAX_LENGTH: Final = 4096
REGISTRY_MAX_LENGTH: Final = 63
IMAGE_MAX_LENGTH: Final = 255

REGISTRY_RULE: Final = "lower-case letters, digits and '-', at most 63 characters"
IMAGE_RULE: Final = (
    "lower-case letters and digits in parts joined by '/', with '.', '_', '__' or '-' inside a part, "
    "at most 255 characters"
)
TAG_RULE: Final = "letters, digits, '_', '.' and '-', not starting with '.' or '-', at most 128 characters"


class InvalidNameError(InputError):
    """A registry, image or tag name that the grammar does not allow."""


def is_registry(text: str) -> bool:
    """Whether ``text`` is a valid registry name."""
    return len(text) <= REGISTRY_MAX_LENGTH and _REGISTRY.fullmatch(text) is not None


def is_image(text: str) -> bool:
    """Whether ``text`` is a valid image (repository) name."""
    return len(text) <= IMAGE_MAX_LENGTH and _IMAGE.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether ``text`` is a valid tag name."""
    return _TAG.fullmatch(text) is not None


def printable(text: str, limit: int = 200) -> str:
    """``text`` with control, bidirectional and other unprintable characters escaped, cut at ``limit``."""
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return shown if len(text) <= limit else f"{shown}… ({len(text)} characters)"


def shown_path(path: object) -> str:
    """The name of a file as messages and reports show it."""
    return printable(str(path), _PATH_MAX_LENGTH)


def inert(text: str) -> str:
    """``text`` so that neither a terminal nor a CI system takes any of its lines for a command.

    GitHub Actions reads ``::`` at the start of a line, after blanks as well, and ``##[`` anywhere in it;
    Azure Pipelines reads ``##vso[`` anywhere.
    """
    shown = "\n".join(printable(line, len(line)) for line in text.split("\n"))
    return _CI_COMMAND.sub(_escaped_command, shown)


def one_line(text: str) -> str:
    """Foreign text as ``inert`` shows it, on one line."""
    return inert(printable(text, len(text)))


def _escaped_command(match: re.Match[str]) -> str:
    found = match[0]
    return f"{found[:-1]}\\x{ord(found[-1]):02x}"


def attachment_subject(tag: str) -> str | None:
    """The digest of the image that a cosign-style tag belongs to, or None for an ordinary tag."""
    match = _ATTACHMENT.fullmatch(tag)
    return None if match is None else f"sha256:{match[1]}"


def referrers_subject(tag: str) -> str | None:
    """The digest whose referrers a tag lists, or None for another tag.

    Source: the OCI Distribution specification, "Referrers Tag Schema".
    """
    match = _REFERRERS.fullmatch(tag)
    return None if match is None else f"sha256:{match[1]}"


def check_registry(text: str) -> None:
    """Raise InvalidNameError unless ``text`` is a registry name."""
    if not is_registry(text):
        raise InvalidNameError(f"'{printable(text)}' is not a registry name: use {REGISTRY_RULE}")


def check_image(text: str) -> None:
    """Raise InvalidNameError unless ``text`` is an image name."""
    if not is_image(text):
        raise InvalidNameError(f"'{printable(text)}' is not an image name: use {IMAGE_RULE}")


# Thousands of tags in a row are of one image: its names are checked once, not for each of them.
@lru_cache(maxsize=64)
def check_repository(registry: str, image: str) -> None:
    """Raise InvalidNameError unless both are names of their kind."""
    check_registry(registry)
    check_image(image)


def check_tag(text: str) -> None:
    """Raise InvalidNameError unless ``text`` is a tag name."""
    if _TAG.fullmatch(text) is None:
        raise InvalidNameError(f"'{printable(text)}' is not a tag name: use {TAG_RULE}")
