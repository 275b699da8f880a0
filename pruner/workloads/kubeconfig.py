"""Where a cluster is and how to log in to it, by kubeconfig files or the service account of a Pod.

Needs ``kubernetes-asyncio``. Its messages quote the kubeconfig file and what exec plugins print, so no text
of it is shown: problems are named in sentences from this module.
"""

import errno
import logging
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from pruner import names
from pruner.errors import InputError
from pruner.files import check_regular
from pruner.plain_names import is_plain_name

MISSING_EXTRA: Final = "reading clusters needs kubernetes-asyncio: pip install 'ncr-pruner[kubernetes]'"
_SECRET_KEYS: Final = frozenset(
    ["token", "password", "id-token", "refresh-token", "access-token", "client-secret", "client-key-data"]
)
_MIN_SECRET_LENGTH: Final = 6
"""Shorter texts, such as ``admin``, are part of many names."""
_PLUGIN_STATUS: Final = re.compile(r"exec: process returned (-?[0-9]{1,3})(?:\.|$)")
_PROBLEMS: Final = (
    ("exec: failed to decode process output", "its exec plugin printed something other than JSON"),
    ("exec: malformed response", "its exec plugin did not print an ExecCredential"),
    ("exec: plugin api version", "its exec plugin answered with another apiVersion than it was asked for"),
    ("exec: malformed request", "its exec plugin is not described completely"),
    ("oidc: ", "its OIDC token cannot be used"),
    ("File does not exist", "a file that it names does not exist"),
    ("Invalid kube-config file", "a part of it is missing, duplicated or of the wrong type"),
    ("Service ", "this is not a Pod with a service account"),
)
"""How messages of the library begin, and what is shown for them."""


class LoginError(Exception):
    """A login that is not used, in a sentence without anything secret."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a cluster is: a context of a kubeconfig file, or the one that this process runs in.

    ``timeout`` in seconds, of one request.
    """

    name: str
    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool = False
    timeout: float = 30.0


class Contexts(NamedTuple):
    """The names of a kubeconfig file's contexts, and of the current one if it is among them."""

    names: list[str]
    current: str | None
    secrets: frozenset[str]

    def may_show(self, name: str) -> bool:
        """Whether ``name`` is certainly not a secret that was written in the place of a name."""
        return is_plain_name(name) and not any(secret in name for secret in self.secrets)


def contexts_of(kubeconfig: Path | None) -> Contexts:
    """Read the contexts of a kubeconfig file. InputError if it cannot be read.

    By default it is the file of KUBECONFIG, or ~/.kube/config.
    """
    library()
    where = "the kubeconfig file" if kubeconfig is None else names.printable(str(kubeconfig))
    try:
        document = _merged(kubeconfig).value
        found = [str(item["name"]) for item in document["contexts"]]
        current = document.get("current-context")
        secrets = frozenset(text for user in document["users"] for text in _secrets(user.value))
    except Exception as error:
        # The library lets through whatever YAML, files and its own checks raise.
        raise InputError(f"{where} cannot be used: {problem_of(error)}") from None
    return Contexts(found, current if current in found else None, secrets)


def _secrets(value: Any, key: object = None) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, name)
    elif isinstance(value, str) and key in _SECRET_KEYS and len(value) >= _MIN_SECRET_LENGTH:
        yield value


def _merged(kubeconfig: Path | None) -> Any:
    """The kubeconfig files as one, as the library merges them."""
    kube_config = library().config.kube_config
    paths = str(kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
    for path in filter(None, paths.split(os.pathsep)):
        _check_file(Path(path).expanduser())
    found = kube_config.KubeConfigMerger(paths).config
    if found is None:
        raise LoginError("there is no such file")
    for user in found.value["users"]:
        token = (user.value.get("user") or {}).get("tokenFile")
        if isinstance(token, str):
            _check_file(Path(user.path).parent / token)
    return found


def _check_file(path: Path) -> None:
    """LoginError for a pipe or a device, which the library would wait for."""
    try:
        check_regular(path)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise LoginError(error.strerror) from None


async def login(cluster: Cluster) -> Any:
    """The library's configuration, with address, certificates and token. Any exception: ``problem_of``."""
    kubernetes = library()
    configuration = kubernetes.client.Configuration()
    # Otherwise a cluster without an address is this machine's port 80, which would be given the token.
    configuration.host = ""
    if cluster.in_cluster:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
        return configuration

    class Loader(kubernetes.config.kube_config.KubeConfigLoader):  # type: ignore[misc,name-defined]
        async def _refresh_oidc(self, provider: Any) -> None:
            # The library does not verify the certificate of the issuer, who is sent the client's secret.
            raise LoginError("its OIDC token has expired; let kubectl refresh it, or use an exec plugin")

    loader = Loader(_merged(cluster.kubeconfig), active_context=cluster.context, config_base_path=None)
    await loader.load_and_set(configuration)
    return configuration


def problem_of(error: Exception) -> str:
    """What went wrong, without a word that may come from a file, a plugin or a server."""
    text = str(error)
    if isinstance(error, LoginError):
        return text
    if isinstance(error, yaml.YAMLError):
        mark = getattr(error, "problem_mark", None)
        return "it is not YAML" if mark is None else f"it is not YAML (line {mark.line + 1})"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno)
    if (status := _PLUGIN_STATUS.match(text)) is not None:
        return f"its exec plugin ended with exit status {status[1]}; run it by hand to see why"
    return next((known for start, known in _PROBLEMS if text.startswith(start)), type(error).__name__)


def library() -> Any:
    """The package ``kubernetes_asyncio``; InputError if it is not installed."""
    try:
        import kubernetes_asyncio
        import kubernetes_asyncio.client
        import kubernetes_asyncio.config.kube_config
    except ImportError:
        raise InputError(MISSING_EXTRA) from None
    # It logs what plugins print.
    logger = logging.getLogger("kubernetes_asyncio")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return kubernetes_asyncio
