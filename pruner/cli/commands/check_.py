"""``pruner check``."""

import click

from pruner.cli.talk import Talk
from pruner.policy.loader import load_policies
from pruner.report.text import counted


@click.command("check", help="Check policy files without touching the network.")
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@click.pass_obj
def command(talk: Talk, policies: tuple[str, ...]) -> int:
    """Load everything; every error of every file is shown at once."""
    loaded = load_policies(policies)
    for policy in loaded.policies:
        what = (
            f"{counted(len(policy.delete), 'delete rule')}, {counted(len(policy.keep), 'keep rule')}"
            if policy.has_rules
            else counted(len(policy.targets), "explicit target")
        )
        talk.detail(f"{policy.source}: {policy.name}: {what}")
    number = len(loaded.policies)
    policies_text = "1 policy" if number == 1 else f"{number:,} policies"
    click.echo(f"{policies_text} in {counted(len(loaded.files), 'file')}: no errors")
    return 0
