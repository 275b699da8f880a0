"""``pruner import``."""

import sys
from pathlib import Path

import click

from pruner import names
from pruner.cli.talk import Talk
from pruner.errors import InputError
from pruner.files import atomic_file

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
    draft = Draft("standard input" if file == "-" else file, registry, images, partial=partial)
    IMPORTERS[kind](draft, _read(file))
    text = draft.text()
    _check(text)
    for item in draft.left_out:
        talk.warn(f"left out: {item}")
    if output is None:
        click.echo(text, nl=False)
    else:
        with atomic_file(output) as target:
            target.write(text.encode())
        talk.say(f"Policy written to {output}")
    return 0


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read(_MOST_BYTES + 1) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise InputError(f"{file}: larger than 1 MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8") from None


def _check(text: str) -> None:
    """What is written can be read again."""
    import io

    from pruner.policy.loader import load_policies

    load_policies(["-"], io.BytesIO(text.encode()))
