"""The built-in demonstration account: two registries with about 400 tags, the same on every start."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import chain
from typing import Final

from pruner.emulator.store import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Image,
    ListedTags,
    Platform,
    Registry,
    Store,
    Tag,
)

_DAY_MS: Final = 86_400_000


class _Maker:
    """Makes the tags of one image, relative to one moment."""

    def __init__(self, image: str, now_ms: int) -> None:
        self._image = image
        self.now_ms = now_ms

    def digest(self, build: str) -> str:
        """Return the digest of a build of the image, always the same for the same name."""
        return f"sha256:{sha256(f'{self._image}@{build}'.encode()).hexdigest()}"

    def tag(
        self, name: str, age_days: float, *, build: str | None = None, pulled: float | None = None
    ) -> Tag:
        """Return a tag pushed and last pulled so many days ago; tags of one build share a digest."""
        digest = self.digest(build or name)
        number = int(digest[7:13], 16)
        size = 40_000_000 + number * 3
        media_type = OCI_MANIFEST if number % 2 else DOCKER_MANIFEST
        digests = {"amd64": digest, "arm64": self.digest(f"{build or name}/arm64")} if number % 5 == 0 else {}
        platforms = tuple(
            Platform(architecture, "linux", of_platform, size // 2, media_type)
            for architecture, of_platform in digests.items()
        )
        pulled_ms = None if pulled is None else self._at(pulled)
        return Tag(name, digest, size, self._at(age_days), pulled_ms, platforms)

    def signature(self, build: str, age_days: float) -> Tag:
        """Return the cosign signature of a build, an ordinary tag named after the digest."""
        name = f"{self.digest(build).replace(':', '-')}.sig"
        return Tag(name, self.digest(name), 1_742, self._at(age_days))

    def _at(self, age_days: float) -> int:
        return self.now_ms - round(age_days * _DAY_MS)


def demo_store(now_ms: int) -> Store:
    """Return the demonstration account as it looks at ``now_ms``."""
    created = now_ms - 2_000 * _DAY_MS
    acme: list[tuple[str, Callable[[_Maker], Iterable[Tag]]]] = [
        ("ci/web", lambda make: _builds(make, 60, 52)),
        ("ci/api", lambda make: _builds(make, 42, 36)),
        ("ci/worker", lambda make: _builds(make, 28, 22)),
        (
            "ci/base",
            lambda make: chain(_builds(make, 6, 12), [make.tag("unknown-age", make.now_ms / _DAY_MS)]),
        ),
        ("product/web", _releases),
        ("product/api", _releases),
        ("legacy/api", _months),
        ("hello/world", _hello),
    ]
    images = [Image(name, ListedTags(tags(_Maker(name, now_ms)))) for name, tags in acme]
    playground = Image("tmp/playground", ListedTags(_playground(_Maker("tmp/playground", now_ms))))
    return Store([Registry("acme", images, created), Registry("sandbox", [playground], created)])


def _builds(make: _Maker, pull_requests: int, commits: int) -> Iterator[Tag]:
    """What a build server leaves behind: one tag per pull request and per commit on the main branch."""
    newest = _commit(make, 0)
    yield make.tag("latest", 0.4, build=newest, pulled=0.1)
    yield make.tag("main", 0.4, build=newest, pulled=0.2)
    yield make.signature(newest, 0.39)
    for number in range(commits):
        pulled = 0.1 if number == 0 else number * 3.0 if number % 4 == 0 else None
        yield make.tag(_commit(make, number), 0.4 + number * 3.7, pulled=pulled)
    yield make.signature(_commit(make, commits - 1), 0.4 + (commits - 1) * 3.7)
    for number in range(pull_requests):
        age = 0.2 + number * 2.6
        yield make.tag(f"pr-{300 - number}", age, pulled=age - 0.1 if number % 2 else None)


def _commit(make: _Maker, number: int) -> str:
    return f"sha-{make.digest(f'commit {number}')[7:14]}"


def _releases(make: _Maker) -> Iterator[Tag]:
    versions = [
        *(f"v1.{minor}.{patch}" for minor in range(6) for patch in range(3)),
        *(f"v2.{minor}.{patch}" for minor in range(3) for patch in range(3)),
        "v2.3.0",
        "v2.3.1",
    ]
    newest = versions[-1]
    yield make.tag("latest", 9, build=newest, pulled=0.1)
    yield make.tag("stable", 9, build=newest, pulled=0.2)
    yield make.signature(newest, 9)
    for position, version in enumerate(reversed(versions)):
        yield make.tag(version, 9 + position * 16, pulled=1.0 + position if position < 8 else None)
    for candidate in (1, 2, 3):
        build = "v2.3.0" if candidate == 3 else None
        yield make.tag(f"v2.3.0-rc.{candidate}", 35 - candidate * 3, build=build)
    today = datetime.fromtimestamp(make.now_ms / 1000, UTC)
    for back in range(1, 5):
        month = _months_before(today, back)
        age = (today - month).total_seconds() / 86_400
        yield make.tag(f"release-{month:%Y.%m}", age, build=versions[-1 - 2 * back])


def _months(make: _Maker) -> Iterator[Tag]:
    """An abandoned image with one tag a month, 2021-01 to 2022-12."""
    today = datetime.fromtimestamp(make.now_ms / 1000, UTC)
    for number in range(24):
        month = datetime(2021 + number // 12, number % 12 + 1, 1, tzinfo=UTC)
        yield make.tag(f"{month:%Y-%m}", (today - month).total_seconds() / 86_400)


def _hello(make: _Maker) -> Iterator[Tag]:
    yield make.tag("2.0.0", 20, pulled=2)
    yield make.tag("1.0.1", 200)
    yield make.tag("1.0.0", 300)


def _playground(make: _Maker) -> Iterator[Tag]:
    yield make.tag("latest", 1, build="try-12")
    for number in range(12, 0, -1):
        yield make.tag(f"try-{number}", 1 + (12 - number) * 9)


def _months_before(moment: datetime, count: int) -> datetime:
    """Return noon of the 15th, so many months earlier."""
    first = moment.replace(day=1, hour=12, minute=0, second=0, microsecond=0)
    for _ in range(count):
        first = (first - timedelta(days=1)).replace(day=1)
    return first.replace(day=15)
