"""``pruner explain``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pruner.app.planning import Source, feed_images, indexed
from pruner.cli.asynchronous import run_async
from pruner.cli.options import (
    connection_options,
    guard_options,
    in_use_options,
    offline_options,
    split_connection,
    split_in_use,
)
from pruner.cli.talk import Talk
from pruner.errors import InputError
from pruner.model import Action, Target
from pruner.plan.inventory import ImageListing
from pruner.policy.explain import Explanation, explain_image
from pruner.policy.loader import STDIN, load_policies
from pruner.policy.retention import RegistryPolicies

if TYPE_CHECKING:
    from pruner.plan.inventory_file import InventoryFile


@click.command("explain", help="Say why tags go or stay: rule by rule, with the values compared.")
@click.argument("arguments", nargs=-1, required=True, metavar="POLICY... REF...")
@click.option("--all", "everything", is_flag=True, help="Explain every tag that the policies concern.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text")
@offline_options
@guard_options
@in_use_options
@connection_options
@click.pass_obj
def command(
    talk: Talk,
    /,
    arguments: tuple[str, ...],
    everything: bool,
    form: str,
    inventory: "InventoryFile | None",
    now: int | None,
    keep_at_least: int | None,
    **rest: Any,
) -> int:
    """Decide as ``plan`` does, and say how."""
    paths = [text for text in arguments if text == STDIN or Path(text).exists()]
    references = [Target.parse(text) for text in arguments if text not in paths]
    if not references and not everything:
        raise InputError("explain what? Name tags as registry/image:tag, or say --all")
    policies = load_policies(paths)
    in_use = split_in_use(rest)
    source = Source(split_connection(rest), inventory, now, in_use if in_use.files else None)
    explainer = _Explainer(indexed(policies, keep_at_least), source.moment, references, form)
    run_async(lambda: feed_images(source, policies, explainer.index, explainer.take, talk))
    explainer.finish()
    return 0


class _Explainer:
    """Explains images as they come."""

    def __init__(
        self, index: dict[str, RegistryPolicies], now: int, references: list[Target], form: str
    ) -> None:
        self.index = index
        self._now = now
        self._wanted: dict[tuple[str, str], set[str]] = {}
        for target in references:
            self._wanted.setdefault((target.registry, target.image), set()).add(target.tag)
        self._all = not references
        self._form = form

    def take(self, listing: ImageListing) -> None:
        """Explain what is wanted of one image."""
        names = self._wanted.get((listing.registry, listing.image), set())
        if not names and not self._all:
            return
        policies = self.index[listing.registry].of(listing.image)
        wanted = None if self._all else frozenset(names)
        for explanation in explain_image(listing.tags or (), policies, self._now, wanted):
            _show(explanation, self._form)
            names.discard(Target.parse(explanation.target).tag)

    def finish(self) -> None:
        """Say what could not be explained."""
        missing = [
            f"{registry}/{image}:{name}"
            for (registry, image), names in sorted(self._wanted.items())
            for name in sorted(names)
        ]
        if missing:
            raise InputError(f"not there, or of an image that no policy concerns: {', '.join(missing)}")


def _show(explanation: Explanation, form: str) -> None:
    if form == "json":
        import msgspec

        sys.stdout.buffer.write(msgspec.json.encode(explanation) + b"\n")
        return
    verb = "goes" if explanation.action is Action.DELETE else "stays"
    where = f" ({explanation.source})" if explanation.source else ""
    click.echo(f"{explanation.target} {verb}: {explanation.because}{where}")
    for rule in explanation.rules:
        selected = {"yes": "selects it", "no": "does not select it", "unknown": "may select it"}[rule.selects]
        click.echo(f"  {rule.kind} rule {rule.source} ({rule.policy}) {selected}")
        for fact in rule.conditions:
            click.echo(f"    {fact.holds:7} {fact.condition}: {fact.because}")
    click.echo(f"  what would change it: {explanation.change}\n")
