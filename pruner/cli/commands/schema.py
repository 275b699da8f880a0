"""``pruner schema``."""

import json

import click


@click.command("schema", help="Print the JSON Schema of policy files.")
def command() -> int:
    """The schema that editors complete and check policies with."""
    from pruner.policy.document import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0
