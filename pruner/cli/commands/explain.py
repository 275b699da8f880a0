"""``pruner explain``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pruner.app.planning import Source, explain_tags
from pruner.cli.asynchronous import run_async
from pruner.cli.options import (
    connection_options,
    guard_options,
    in_use_options,
    offline_options,
    split_connection,
    split_in_use,
)
from pruner.cli.talk import Talk, show
from pruner.errors import InputError
from pruner.files import STDIN
from pruner.model import Action, Target
from pruner.policy.explain import Explanation
from pruner.policy.loader import load_policies

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
    paths = [text for text in arguments if text == STDIN or _is_there(text)]
    references = [Target.parse(text) for text in arguments if text not in paths]
    if not references and not everything:
        raise InputError("explain what? Name tags as registry/image:tag, or say --all")
    policies = load_policies(paths)
    in_use = split_in_use(rest)
    source = Source(split_connection(rest), inventory, now, in_use if in_use.files else None)
    targets = references or None

    def take(explanation: Explanation) -> None:
        _show(explanation, form)

    run_async(lambda: explain_tags(source, policies, take, targets, keep_at_least, talk))
    return 0


def _is_there(text: str) -> bool:
    """Whether an argument names something to read, if only a link that leads nowhere."""
    try:
        Path(text).lstat()
    except (OSError, ValueError):
        return False
    return True


def _show(explanation: Explanation, form: str) -> None:
    if form == "json":
        import msgspec

        sys.stdout.buffer.write(msgspec.json.encode(explanation) + b"\n")
        return
    verb = "goes" if explanation.action is Action.DELETE else "stays"
    where = f" ({explanation.source})" if explanation.source else ""
    show(f"{explanation.target} {verb}: {explanation.because}{where}")
    for rule in explanation.rules:
        selected = {"yes": "selects it", "no": "does not select it", "unknown": "may select it"}[rule.selects]
        show(f"  {rule.kind} rule {rule.source} ({rule.policy}) {selected}")
        for fact in rule.conditions:
            show(f"    {fact.holds:7} {fact.condition}: {fact.because}")
    show(f"  what would change it: {explanation.change}")
    click.echo()
