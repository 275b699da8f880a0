"""``pruner import``."""

from pathlib import Path

import click

from pruner import names
from pruner.cli.talk import Talk
from pruner.files import STDIN, atomic_file, read_text

KINDS = ("acr", "ecr", "gar", "harbor")
_MOST_BYTES = 1 << 20


@click.command(
    "import",
    help="Turn the cleanup policy of another tool into a policy file: an ECR lifecycle policy (JSON), "
    "cleanup policies of Google Artifact Registry (JSON), a retention policy of Harbor (JSON of its API), "
    "or a command line of acr purge. What cannot be said exactly is an error.",
)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("file", metavar="FILE|-")
@click.option("--registry", default="registry", show_default=True, help="The registry's name in the policy.")
@click.option("--images", multiple=True, metavar="GLOB", help="The images it is for; may be repeated.")
@click.option("--partial", is_flag=True, help="Leave out deletions that cannot be said.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
@click.pass_obj
def command(
    talk: Talk,
    /,
    kind: str,
    file: str,
    registry: str,
    images: tuple[str, ...],
    partial: bool,
    output: Path | None,
) -> int:
    """Read, translate, check, write."""
    from pruner.policy.imports import IMPORTERS
    from pruner.policy.imports.draft import Draft

    names.check_registry(registry)
    draft = Draft(
        "standard input" if file == STDIN else names.shown_path(file), registry, images, partial=partial
    )
    IMPORTERS[kind](draft, read_text(file, _MOST_BYTES))
    text = draft.text()
    _check(text)
    for item in draft.left_out:
        talk.warn(f"left out: {item}")
    if output is None:
        click.echo(text, nl=False)
    else:
        with atomic_file(output) as target:
            target.write(text.encode())
        talk.say(f"Policy written to {names.shown_path(output)}")
    return 0


def _check(text: str) -> None:
    """What is written can be read again."""
    import io

    from pruner.policy.loader import load_policies

    load_policies(["-"], io.BytesIO(text.encode()))
