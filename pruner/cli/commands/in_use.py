"""``pruner in-use``."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import click

from pruner import names
from pruner.cli.asynchronous import run_async
from pruner.cli.talk import Talk
from pruner.errors import ExitCode, InputError
from pruner.files import atomic_file
from pruner.plan.in_use_file import Source, Use, write_in_use
from pruner.registry.clients import proxy_for
from pruner.report.text import counted
from pruner.workloads.files import read_references
from pruner.workloads.kubeconfig import Cluster, Contexts, contexts_of
from pruner.workloads.kubernetes import read_cluster
from pruner.workloads.objects import Usage

IN_CLUSTER: Final = "in-cluster"
SHOWN_CONTEXTS: Final = 20


@click.command(
    "in-use",
    help="Save which images Kubernetes clusters use, and files name, so that these are kept (--in-use).\n\n"
    "By default it reads the current context of the kubeconfig file; in a Pod without one, the cluster that "
    "it runs in, as 'in-cluster'. What cannot be read of a cluster is written down too: then the file proves "
    "nothing, and the exit code is 3.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The kubeconfig file (default: KUBECONFIG or ~/.kube/config).",
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="[NAME=]CONTEXT",
    help="A context of it, called NAME in policies.",
)
@click.option(
    "--in-cluster",
    metavar="NAME",
    help="The cluster that this runs in, by its service account, called NAME in policies.",
)
@click.option(
    "--from",
    "files",
    multiple=True,
    metavar="[NAME=]FILE|-",
    help="References from elsewhere: one a line, or YAML (Compose, Helm values, manifests).",
)
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.05, 600),
    default=30.0,
    metavar="SECONDS",
    help="For one request (default 30).",
)
@click.pass_obj
def command(
    talk: Talk,
    kubeconfig: Path | None,
    contexts: tuple[str, ...],
    in_cluster: str | None,
    files: tuple[str, ...],
    output: Path,
    timeout: float,
) -> int:
    """Read every cluster and file, and write down what they use and what could not be read."""
    sources = [_read_file(text) for text in files]
    if not (contexts or kubeconfig or files or in_cluster) and _is_in_cluster(os.environ):
        in_cluster = IN_CLUSTER
    asks_kubeconfig = bool(contexts or kubeconfig) or not (files or in_cluster)
    clusters = _clusters(kubeconfig, contexts, timeout) if asks_kubeconfig else []
    if in_cluster is not None:
        clusters.append(Cluster(in_cluster, in_cluster=True, timeout=timeout))
    _check_names([item.source.name for item in sources] + [cluster.name for cluster in clusters])
    sources += run_async(lambda: _read_clusters(clusters))
    return _save(sources, output, talk)


def _is_in_cluster(env: Mapping[str, str]) -> bool:
    """Whether this runs in a Pod that nobody gave a kubeconfig file."""
    config = Path(env.get("HOME", "/")) / ".kube/config"
    return "KUBERNETES_SERVICE_HOST" in env and "KUBECONFIG" not in env and not config.exists()


class _Read(NamedTuple):
    source: Source
    usages: Sequence[Usage]


def _now() -> int:
    return int(time.time() * 1000)


def _read_file(text: str) -> _Read:
    name, equals, path = text.partition("=")
    path = path if equals else text
    if not name or not path:
        raise InputError(f"--from '{names.printable(text)}': write FILE or NAME=FILE")
    return _Read(Source(name, "file", _now()), read_references(path))


def _clusters(kubeconfig: Path | None, contexts: tuple[str, ...], timeout: float) -> list[Cluster]:
    known = contexts_of(kubeconfig)
    if not contexts:
        if known.current is None:
            raise InputError("the kubeconfig file has no valid current context; name one with --context")
        contexts = (known.current,)
    clusters = []
    for text in contexts:
        name, equals, context = (text, "=", text) if text in known.names else text.partition("=")
        if not equals or context not in known.names:
            raise InputError(_unknown_context(known, context or text))
        if not known.may_show(name):
            raise InputError(
                "the name of a context looks like a secret, so it cannot be used as the name of a source; "
                "rename the context, or give the source a name: --context NAME=CONTEXT"
            )
        clusters.append(Cluster(name, kubeconfig, context, timeout=timeout))
    return clusters


def _unknown_context(known: Contexts, asked: str) -> str:
    """That a context is not there, and which are; without names that may be secrets."""
    shown = [name for name in known.names if known.may_show(name)][:SHOWN_CONTEXTS]
    more = [f"{len(known.names) - len(shown)} more"] if len(known.names) > len(shown) else []
    what = f"context '{asked}'" if known.may_show(asked) else "a context that was asked for"
    return f"{what} is not in the kubeconfig file (there: {', '.join(shown + more) or 'none'})"


def _check_names(found: list[str]) -> None:
    twice = next((name for number, name in enumerate(found) if name in found[:number]), None)
    if twice is not None:
        raise InputError(
            f"two sources are called '{names.printable(twice)}'; write NAME=… to tell them apart"
        )


async def _read_clusters(clusters: Sequence[Cluster]) -> list[_Read]:
    found: dict[str, _Read] = {}

    async def read(cluster: Cluster) -> None:
        # What changes while it is read may not be seen.
        read_at = _now()
        usages, missing = await read_cluster(cluster, proxy_for=proxy_for)
        found[cluster.name] = _Read(Source(cluster.name, "kubernetes", read_at, tuple(missing)), usages)

    async with anyio.create_task_group() as group:
        for cluster in clusters:
            group.start_soon(read, cluster)
    return [found[cluster.name] for cluster in clusters]


def _save(sources: Sequence[_Read], output: Path, talk: Talk) -> ExitCode:
    uses = (
        Use(item.source.name, usage.workload, usage.reference, usage.digest, usage.runs_unknown)
        for item in sources
        for usage in item.usages
    )
    with atomic_file(output) as file:
        count = write_in_use(file, [item.source for item in sources], uses)
    for item in sources:
        for missing in item.source.missing:
            talk.error(f"'{names.printable(item.source.name)}' was not read: {missing}")
    where = ", ".join(names.printable(item.source.name) for item in sources)
    talk.say(f"{counted(count, 'use')} of images in {where} written to {output}")
    return ExitCode.REFUSED if any(item.source.missing for item in sources) else ExitCode.DONE
