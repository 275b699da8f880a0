"""``pruner check``."""

from typing import TYPE_CHECKING

import click

from pruner.cli.options import offline_options
from pruner.cli.talk import Talk
from pruner.errors import ExitCode
from pruner.policy.loader import load_policies
from pruner.policy.policy import PolicySet
from pruner.report.text import counted

if TYPE_CHECKING:
    from pruner.plan.inventory_file import InventoryFile


@click.command("check", help="Check policy files without touching the network.")
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@click.option("--strict", is_flag=True, help="Exit 1 if there is a warning.")
@offline_options
@click.pass_obj
def command(
    talk: Talk,
    /,
    policies: tuple[str, ...],
    strict: bool,
    inventory: "InventoryFile | None",
    now: int | None,
) -> int:
    """Load everything; every error of every file is shown at once, then what is probably not meant."""
    from pruner.app.places import foreign_hosts

    loaded = load_policies(policies)
    warnings = [*loaded.warnings, *foreign_hosts(loaded.registries)]
    if inventory is not None:
        warnings += _inventory_warnings(loaded, inventory, now)
    for policy in loaded.policies:
        what = (
            f"{counted(len(policy.delete), 'delete rule')}, {counted(len(policy.keep), 'keep rule')}"
            if policy.has_rules
            else counted(len(policy.targets), "explicit target")
        )
        talk.detail(f"{policy.source}: {policy.name}: {what}")
    for warning in warnings:
        talk.warn(warning)
    number = len(loaded.policies)
    policies_text = "1 policy" if number == 1 else f"{number:,} policies"
    said = f"no errors, {counted(len(warnings), 'warning')}" if warnings else "no errors"
    click.echo(f"{policies_text} in {counted(len(loaded.files), 'file')}: {said}")
    return ExitCode.SOME_FAILED if strict and warnings else ExitCode.DONE


def _inventory_warnings(loaded: PolicySet, inventory: "InventoryFile", now: int | None) -> list[str]:
    from pruner.app.planning import indexed
    from pruner.policy.lint import InventoryLint

    moment = inventory.header.listed_at if now is None else now
    lint = InventoryLint(loaded.policies, indexed(loaded, None), moment)
    for listing in inventory.images():
        lint.take(listing.registry, listing.image, listing.tags or ())
    return list(lint.warnings())
