"""Image references as Docker and Kubernetes write them: ``[HOST/]PATH[:TAG][@DIGEST]``.

After the grammar of the distribution project; what names no host is of Docker Hub, and what names neither tag
nor digest is ``latest``.
"""

import re
from typing import Final, NamedTuple

from pruner import names
from pruner.errors import InputError

MAX_LENGTH: Final = 1024
"""Characters. A name has at most 255, a tag 128 and a digest 135; no host has more than 259 with its port."""
TOO_LONG: Final = f"has more than {MAX_LENGTH:,} characters, which no image reference has"
DOCKER_HUB: Final = "docker.io"
_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}|::1")
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?")


class ImageReference(NamedTuple):
    """``host`` is in lower case and without the port of https; at least one of tag and digest is there."""

    host: str
    path: str
    tag: str | None
    digest: str | None


def is_host(host: str) -> bool:
    """Whether it is a host, with or without a port, as references name it."""
    return _HOST.fullmatch(host) is not None


def is_loopback(host: str) -> bool:
    """Whether a host, without a port, is this machine."""
    return _LOOPBACK.fullmatch(host) is not None


def host_of(text: str) -> str:
    """The host that a reference names, however wrong the rest of it may be."""
    return normal_host(text.partition("/")[0]) if _names_host(text) else DOCKER_HUB


def normal_host(host: str) -> str:
    """A host as references are compared by it."""
    found = host.lower().removesuffix(":443").rstrip(".")
    return DOCKER_HUB if found in _HUB_NAMES else found


def normal_place(text: str) -> str:
    """A place where images are pulled from, ``host[/prefix]``, as references are compared by it.

    InputError if it cannot be one.
    """
    host, slash, prefix = text[: MAX_LENGTH + 1].partition("/")
    found = normal_host(host)
    try:
        if len(text) > MAX_LENGTH:
            raise InputError(TOO_LONG)
        # What has neither is a name of Docker Hub, and never a host.
        if not _marks_host(found) or not _HOST.fullmatch(found):
            raise InputError("no such host can be")
        if slash:
            names.check_image(prefix)
    except InputError:
        raise InputError(
            f"'{names.printable(text)}' is no place to pull images from; write host or host/prefix, no https://"
        ) from None
    return f"{found}/{prefix}" if slash else found


def parse_reference(text: str) -> ImageReference:
    """Read a reference; InputError if it is none that could be pulled."""
    if len(text) > MAX_LENGTH:
        raise InputError(f"'{names.printable(text, 60)}' {TOO_LONG}")
    host = host_of(text)
    rest = text.partition("/")[2] if _names_host(text) else text
    rest, at, digest = rest.partition("@")
    path, tag = _split_tag(rest)
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    try:
        if not _HOST.fullmatch(host) or (at and not _DIGEST.fullmatch(digest)):
            raise InputError("no such host or digest can be")
        names.check_image(path)
        if tag is not None:
            names.check_tag(tag)
    except InputError:
        raise InputError(f"'{names.printable(text)}' is not an image reference") from None
    if tag is None and not at:
        tag = "latest"
    return ImageReference(host, path, tag, digest or None)


def _names_host(text: str) -> bool:
    first, slash, _ = text.partition("/")
    return bool(slash) and _marks_host(first)


def _marks_host(first: str) -> bool:
    """Whether the first part of a reference is a host (or stands for one), and no name of Docker Hub."""
    return bool(set(".:$[") & set(first)) or first == "localhost"


def _split_tag(text: str) -> tuple[str, str | None]:
    path, colon, tag = text.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (text, None)
