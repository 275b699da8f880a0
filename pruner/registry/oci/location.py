"""Where an OCI registry is: its URL, and how the images of ours are called there."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from pruner import names
from pruner.errors import InputError
from pruner.references import normal_host
from pruner.registry.endpoint import parse_endpoint


@dataclass(frozen=True, slots=True)
class OciLocation:
    """``origin`` is scheme, host and port; ``namespace`` what stands before the name of every image."""

    origin: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.origin}/{self.namespace}" if self.namespace else self.origin

    @property
    def host(self) -> str:
        """Host and port, as credentials are filed under."""
        return urlsplit(self.origin).netloc

    @property
    def place(self) -> str:
        """Where workloads pull the images from, as ``host`` or ``host/namespace``."""
        host = normal_host(self.host)
        return f"{host}/{self.namespace}" if self.namespace else host

    def overlaps(self, other: "OciLocation") -> bool:
        """Whether some image may be in both."""
        ours, theirs = f"{self.namespace}/".lstrip("/"), f"{other.namespace}/".lstrip("/")
        return self.origin == other.origin and (ours.startswith(theirs) or theirs.startswith(ours))

    def repository(self, image: str) -> str:
        """The name of an image in the registry's own words."""
        return f"{self.namespace}/{image}" if self.namespace else image

    def image(self, repository: str) -> str | None:
        """The image of a repository; None for one outside the namespace."""
        if not self.namespace:
            return repository
        prefix = f"{self.namespace}/"
        return repository.removeprefix(prefix) if repository.startswith(prefix) else None

    def scope(self, image: str, actions: str = "pull") -> str:
        """What a token has to be good for."""
        return f"repository:{self.repository(image)}:{actions}"

    def path(self, image: str, rest: str) -> str:
        """The path of something of an image, as in ``manifests/v1``."""
        return f"/v2/{quote(self.repository(image), safe='/')}/{rest}"


def parse_location(url: str, *, allow_plain_http: bool = False) -> OciLocation:
    """Where ``url`` points to; its path is the namespace of the images. InputError says what is wrong."""
    endpoint = parse_endpoint(url, allow_plain_http=allow_plain_http, example="https://registry.example.com")
    namespace = endpoint.prefix.strip("/")
    if namespace == "v2" or namespace.startswith("v2/"):
        raise InputError(f"'{names.printable(url)}' includes /v2; leave that out")
    if namespace:
        names.check_image(namespace)
    return OciLocation(endpoint.origin, namespace)
