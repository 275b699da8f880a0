"""``pruner demo``."""

import os
import tempfile
from importlib.resources import files
from pathlib import Path

import click

from pruner.app.options import ConnectionOptions, ExecutionOptions
from pruner.cli.asynchronous import run_async
from pruner.cli.running import RunOptions, run_policies
from pruner.cli.talk import Talk
from pruner.errors import ExitCode, InputError
from pruner.plan.guards import Guards
from pruner.policy.loader import load_policies


@click.command("demo", help="Run everything against an embedded registry: no account needed.")
@click.option(
    "--report", "report_dir", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
@click.pass_obj
def command(talk: Talk, report_dir: Path | None) -> int:
    """Serve the embedded NCR, then do what ``pruner run --yes`` does with the example policies."""
    from pruner.emulator import DEMO_ACCESS_KEY, DEMO_SECRET_KEY, running_in_thread

    folder = example_policies()
    talk.say(f"Policies: {folder}")
    loaded = load_policies([str(folder)])
    report = report_dir or Path(tempfile.mkdtemp(prefix="pruner-demo-"))
    # The keys of the emulator win over any real ones: a demo never signs with those.
    os.environ.update(NCLOUD_ACCESS_KEY_ID=DEMO_ACCESS_KEY, NCLOUD_SECRET_ACCESS_KEY=DEMO_SECRET_KEY)
    for name in ("NCLOUD_ACCESS_KEY", "NCLOUD_SECRET_KEY", "NCR_ACCESS_KEY", "NCR_SECRET_KEY"):
        os.environ.pop(name, None)
    with running_in_thread() as emulator:
        talk.say(f"Embedded registry: {emulator.endpoint}")
        options = RunOptions(
            ConnectionOptions(endpoint=emulator.endpoint, rate=50.0),
            Guards(),
            ExecutionOptions(),
            yes=True,
            state_dir=str(report / "state"),
            report_dir=report,
        )
        code = run_async(lambda: run_policies(loaded, options, talk))
        counters = emulator.counters
        click.echo(
            f"The embedded registry counted {counters.deleted} deleted tags, "
            f"{counters.duplicate_deletes} deleted twice, "
            f"{counters.forbidden_deletes} requests to delete an image or a registry."
        )
    return code or ExitCode.DONE


def example_policies() -> Path:
    """The example policies: those of a checkout if one is here, else those that are installed."""
    package = Path(str(files("pruner")))
    installed = next((f for f in (package / "examples", package.parent / "policies") if f.is_dir()), None)
    if installed is None:
        raise InputError("the example policies are not installed")
    here = Path("policies")
    names = [path.name for path in installed.glob("*.yaml")]
    same = all(_same(here / name, installed / name) for name in names)
    return here if same else installed


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()
