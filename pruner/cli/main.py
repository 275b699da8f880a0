"""The ``pruner`` command: global options, lazily loaded commands, one place where errors become sentences."""

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

import click

from pruner import __version__
from pruner.cli.options import BEGAN
from pruner.cli.streams import discard_output, prepare_streams
from pruner.cli.talk import LOG_FORMATS, Talk
from pruner.clock import running_clock
from pruner.errors import ExitCode, PrunerError
from pruner.names import printable, shown_path

_MESSAGE_LENGTH: Final = 1000

COMMANDS: Final = {
    "check": "Check policy files without touching the network.",
    "plan": "Show what policies would delete; cannot delete.",
    "run": "Plan, ask, delete and report.",
    "delete": "Delete the tags that are named.",
    "apply": "Carry out a plan that was written and reviewed before.",
    "resume": "Go on with a run that was interrupted.",
    "undo": "Put back the tags that a run deleted, from what it kept.",
    "runs": "List the runs that are kept, or prune old ones.",
    "report": "Render the report of a run again.",
    "explain": "Say why tags go or stay, rule by rule.",
    "diff": "Compare two policies on one inventory, or two plans.",
    "forecast": "Show what becomes deletable day by day.",
    "test": "Run tests of policies.",
    "inventory": "Save what registries hold, for deciding offline.",
    "in-use": "Save which images Kubernetes clusters use, so that they are kept.",
    "list": "List registries, images or tags.",
    "import": "Turn the cleanup policy of another tool into one of ours.",
    "schema": "Print the JSON Schema of policy files.",
    "demo": "Run everything against an embedded registry.",
    "emulator": "Serve an embedded registry on loopback.",
}


class _LazyGroup(click.Group):
    """Knows every command's name and help, and imports a command's module when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pruner.cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="pruner %(version)s")
@click.option("--quiet", "-q", is_flag=True, help="Only results and errors.")
@click.option("--verbose", "-v", is_flag=True, help="Also say what is done and why it waits.")
@click.option(
    "--log-format", type=click.Choice(LOG_FORMATS), default="text", help="Form of what is said on stderr."
)
@click.pass_context
def cli(ctx: click.Context, quiet: bool, verbose: bool, log_format: str) -> None:
    """Delete container-image tags in bulk, by reviewed policy, on NAVER Cloud Container Registry.

    Shell completion: eval "$(_PRUNER_COMPLETE=bash_source pruner)" (or zsh_source, fish_source).
    """
    ctx.meta[BEGAN] = running_clock()
    ctx.obj = Talk(quiet=quiet, verbose=verbose, as_json=log_format == "json")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    prepare_streams()
    if os.getpid() == 1:
        # Nothing ends the first process of a container but what it handles itself.
        signal.signal(signal.SIGTERM, _end)
    sys.exit(_run(arguments))


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _run(arguments: list[str] | None) -> int:
    talk = Talk(as_json=_wants_json(sys.argv[1:] if arguments is None else arguments))
    try:
        result = cli.main(args=arguments, prog_name="pruner", standalone_mode=False)
    except PrunerError as error:
        talk.error(str(error))
        return int(error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        talk.error("interrupted")
        return int(ExitCode.INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return int(ExitCode.BAD_INPUT)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "pruner"
        talk.error(f"{_message(error)} (see {command} --help)")
        return int(ExitCode.BAD_INPUT)
    except click.ClickException as error:
        talk.error(_message(error))
        return int(ExitCode.BAD_INPUT)
    except BrokenPipeError:
        # The reader of a pipe (head, say) has seen enough.
        sys.stderr.close()
        return int(ExitCode.DONE)
    except OSError as error:
        # Everything else is translated where it happens; what is left is the output itself.
        discard_output()
        name = shown_path(error.filename or "the output")
        talk.error(f"{name} cannot be written: {error.strerror or error}")
        return int(ExitCode.SOME_FAILED)
    return int(result) if isinstance(result, int) else int(ExitCode.DONE)


def _message(error: click.ClickException) -> str:
    """What is wrong, on one line: click quotes arguments as they are."""
    text = " ".join(error.format_message().split())
    return printable(text, _MESSAGE_LENGTH)


def _wants_json(arguments: list[str]) -> bool:
    joined = " ".join(arguments)
    return "--log-format json" in joined or "--log-format=json" in joined
