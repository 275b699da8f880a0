"""Write what follows from the command line: the reference of ``docs/commands.md``, and the man pages.

``python -m scripts.generate``, after every change of a command. ``tests/test_docs.py`` compares.
"""

import copy
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from click_man.core import write_man_pages

from pruner import __version__
from pruner.cli.main import COMMANDS, cli
from pruner.cli.options import connection_options

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/commands.md"
MAN = ROOT / "man"
START, END = "<!-- generated: start -->", "<!-- generated: end -->"


def commands() -> click.Group:
    """The whole tree of commands, each imported, with the short help that ``pruner --help`` shows."""
    context = click.Context(cli, info_name="pruner")
    tree = click.Group("pruner", params=cli.params, help=cli.help, short_help=_first_sentence(cli.help))
    for name, short in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None, name
        tree.add_command(_with_short_help(command, short), name)
    return tree


def _with_short_help(command: click.Command, short: str) -> click.Command:
    """A copy of a command with its short help whole: click would cut it off at 45 characters."""
    command = copy.copy(command)
    command.short_help = short
    if isinstance(command, click.Group):
        command.commands = {
            name: _with_short_help(sub, _first_sentence(sub.help)) for name, sub in command.commands.items()
        }
    return command


def _first_sentence(text: str | None) -> str:
    return (text or "").split("\n\n")[0].split(". ")[0]


def reference() -> str:
    """The generated part of the page, between its markers."""
    shared = frozenset(option.name for option in _connection().params)
    parts = [START, "## Global options", *_options(commands())]
    parts += ["## Options of a connection", "Of all commands that speak to a registry."]
    parts += _options(_connection())
    for path, command in _walk(commands()):
        parts += [f"## pruner {path}", *_section(path, command, shared)]
    return "\n\n".join([*parts, END])


def _connection() -> click.Command:
    return click.command("connection")(connection_options(lambda **_: None))


def _walk(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield before + name, command
        if isinstance(command, click.Group):
            yield from _walk(command, f"{before}{name} ")


def _section(path: str, command: click.Command, shared: frozenset[str | None]) -> Iterator[str]:
    context = click.Context(command, info_name=f"pruner {path}")
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"```text\npruner {path} {pieces}\n```"
    yield re.sub(r"(?<![\w-])(--[a-z-]+)", r"`\1`", command.help or "")
    own = {option.name for option in command.params}
    yield from _options(command, shared if shared <= own else frozenset())
    if shared <= own:
        yield "And the [options of a connection](#options-of-a-connection)."


def _options(command: click.Command, without: frozenset[str | None] = frozenset()) -> Iterator[str]:
    context = click.Context(command, info_name="pruner")
    lines = []
    for option in command.params:
        record = option.get_help_record(context)
        if isinstance(option, click.Option) and record is not None and option.name not in without:
            lines.append(f"- `{record[0]}`" + (f": {record[1]}" if record[1] else ""))
    if lines:
        yield "\n".join(lines)


def page(text: str) -> str:
    """The page with its generated part made anew."""
    before, _, rest = text.partition(START)
    return before + reference() + rest.partition(END)[2]


def man_pages() -> dict[str, str]:
    """The man pages by file name."""
    with tempfile.TemporaryDirectory() as folder:
        write_man_pages(
            "pruner", commands(), version=f"pruner {__version__}", target_dir=folder, date=_released()
        )
        pages = {path.name: path.read_text() for path in sorted(Path(folder).iterdir())}
    pages["pruner.1"] += _exit_status()
    return pages


def _released() -> str:
    """The day of this version; the day of building would make each build another."""
    text = (ROOT / "CHANGELOG.md").read_text()
    match = re.search(rf"^## \[{re.escape(__version__)}\] - (\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def _exit_status() -> str:
    rows = re.findall(r"^\| ([\d, ]+) \| (.*) \|$", (ROOT / "docs/exit-codes.md").read_text(), re.MULTILINE)
    return ".SH EXIT STATUS\n" + "".join(f".TP\n\\fB{code}\\fP\n{meaning}\n" for code, meaning in rows)


def main() -> None:
    """Write both."""
    PAGE.write_text(page(PAGE.read_text()))
    MAN.mkdir(exist_ok=True)
    pages = man_pages()
    for path in MAN.glob("*.1"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (MAN / name).write_text(text)


if __name__ == "__main__":
    main()
