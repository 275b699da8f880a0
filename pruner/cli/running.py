"""The whole way of ``run`` and ``delete``: plan, preview, question, execution, report."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pruner.cli.connections import Connections
from pruner.cli.consoles import result_console
from pruner.cli.executing import ExecutionOptions, execute, kept_registries
from pruner.cli.options import ConnectionOptions, split_connection
from pruner.cli.planning import Source, make_plan, plan_live
from pruner.cli.previewing import show_preview
from pruner.cli.proving import InUseOptions, Proved, split_in_use
from pruner.cli.talk import Talk
from pruner.engine.history import planned_before
from pruner.engine.runs import RunDirectory, new_run, state_directory
from pruner.errors import ExitCode, InputError, PrunerError, RefusedError
from pruner.files import private_folder
from pruner.plan.file import Plan
from pruner.plan.guards import Guards, check_growth
from pruner.plan.inventory import check_registries
from pruner.plan.inventory_file import InventoryFile
from pruner.policy.in_use import InUse
from pruner.policy.policy import PolicySet
from pruner.report.preview import markdown_lines
from pruner.report.summary import exit_code
from pruner.report.terminal import show_summary
from pruner.report.text import counted
from pruner.report.write import Report, write_report


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a command plans and executes."""

    connection: ConnectionOptions
    guards: Guards
    execution: ExecutionOptions
    dry_run: bool = False
    yes: bool = False
    state_dir: str | None = None
    report_dir: Path | None = None
    form: str = "table"
    all_tags: bool = False
    inventory: InventoryFile | None = None
    now: int | None = None
    max_growth: float | None = None
    step_summary: bool = False
    true_bytes: bool = False
    in_use: InUseOptions = field(default_factory=InUseOptions)


class ReportError(PrunerError):
    """The report of a run that has ended cannot be written; the journal has everything."""

    exit_code = ExitCode.PARTIAL


GUARDS = ("max_deletions", "max_share", "keep_at_least")


def options_from(values: dict[str, Any]) -> RunOptions:
    """The options of a command out of its keywords (those of ``cli.options``)."""
    connection = split_connection(values)
    guards = Guards(**{name: values.pop(name, None) for name in GUARDS})
    execution = ExecutionOptions(
        values.pop("durable", False),
        values.pop("deadline", None),
        values.pop("keep_manifests", False),
        values.pop("watch", None),
    )
    return RunOptions(connection, guards, execution, in_use=split_in_use(values), **values)


async def preview_only(
    policies: PolicySet, options: RunOptions, talk: Talk, output: Path | None = None
) -> ExitCode:
    """Plan and show what would go. The same code as the real thing, up to the DELETE."""
    source = Source(options.connection, options.inventory, options.now, options.in_use)
    if output is not None:
        plan = await make_plan(source, policies, options.guards, output, talk, true_bytes=options.true_bytes)
        _present(plan, options)
        talk.say(f"Plan written to {output}")
        return ExitCode.DONE
    with tempfile.TemporaryDirectory(prefix="pruner-") as folder:
        path = Path(folder) / "plan.jsonl"
        plan = await make_plan(source, policies, options.guards, path, talk, true_bytes=options.true_bytes)
        _present(plan, options)
    return ExitCode.DONE


def _present(plan: Plan, options: RunOptions) -> None:
    show_preview(plan, options.form, all_tags=options.all_tags)
    if options.step_summary:
        append_step_summary("".join(markdown_lines(plan)))


async def run_policies(policies: PolicySet, options: RunOptions, talk: Talk) -> ExitCode:
    """Plan, preview, ask, delete, report; or only preview for a dry run."""
    if options.dry_run:
        return await preview_only(policies, options, talk)
    state = state_directory(options.state_dir)
    if options.report_dir is not None:
        private_folder(options.report_dir)
    run = new_run(state, time.time())
    try:
        async with Connections(options.connection, policies.registries, talk, state=state) as connections:
            plan, in_use = await plan_live(
                connections, policies, options.guards, run.plan, talk, in_use=options.in_use
            )
            # What is missing to keep manifests is better said before the question.
            await connections.open_doors(kept_registries(plan, options.execution))
            show_preview(plan, options.form, all_tags=options.all_tags)
            before_deleting(plan, run, state, options)
            return await carry_out(connections, plan, run, state, options, talk, in_use)
    finally:
        forget_unused(run)


async def connect(connections: Connections, plan: Plan, proved: Proved | None = None) -> InUse:
    """Connect to the registries of an earlier plan; what is in use of them, by a new proof.

    Raises UnknownRegistryError where the account has none of that name: to the key of another account all
    of its tags would look as if they were gone.
    """
    await connections.open(sorted(plan.header.registries))
    places = await check_registries(connections.readers())
    return {} if proved is None else proved.in_use(connections.facts(places), places.others)


async def carry_out(
    connections: Connections,
    plan: Plan,
    run: RunDirectory,
    state: Path,
    options: RunOptions,
    talk: Talk,
    in_use: InUse | None = None,
) -> ExitCode:
    """Execute a plan and report on it."""
    show_planned(plan, options)
    await execute(connections, plan, run, state, options.execution, talk, in_use)
    return report_on(plan, run, options, talk)


def report_on(plan: Plan, run: RunDirectory, options: RunOptions, talk: Talk) -> ExitCode:
    """Write the report of a run that has ended, and say what it says."""
    try:
        report = write_report(plan, run.journal, options.report_dir or run.path, run.run_id)
    except InputError as error:
        raise ReportError(
            f"the run has ended, but its report {error}; nothing is lost: pruner report {run.run_id}"
        ) from None
    if options.execution.watch is not None:
        options.execution.watch.report = report
    tell(report, talk, on_stdout=options.form == "table")
    if options.step_summary:
        append_step_summary((report.folder / "summary.md").read_text(encoding="utf-8"))
    return exit_code(report.record, report.summary)


def tell(report: Report, talk: Talk, *, on_stdout: bool = True) -> None:
    """Show the summary of a run, where its report is, and how to go on.

    It goes to stderr where stdout holds a preview for machines.
    """
    show_summary(report, result_console(stderr=not on_stdout))
    talk.say(f"Report: {report.folder}{'' if str(report.folder).endswith('/') else '/'}", run=report.run_id)
    if report.summary.not_done:
        talk.say(f"Go on with: pruner resume {report.run_id}")


def before_deleting(plan: Plan, run: RunDirectory, state: Path, options: RunOptions) -> None:
    """The last guard and the question; RefusedError if either says no."""
    show_planned(plan, options)
    if plan.entries_left:
        check_grown(plan, run, state, options)
        confirm(plan.entries_left, options.yes)


def show_planned(plan: Plan, options: RunOptions) -> None:
    """Let whoever watches know how much is planned."""
    if options.execution.watch is not None:
        options.execution.watch.planned(plan)


def check_grown(plan: Plan, run: RunDirectory, state: Path, options: RunOptions) -> None:
    """Raise RefusedError if so many times more would go than in the last runs."""
    before = planned_before(state, plan.header.registries, run.group)
    check_growth(plan.entries_left, before, options.max_growth)


def append_step_summary(text: str, env: Mapping[str, str] = os.environ) -> None:
    """Append Markdown to the job summary of a GitHub Actions step."""
    path = env.get("GITHUB_STEP_SUMMARY")
    if not path:
        raise InputError("--step-summary: GITHUB_STEP_SUMMARY is not set")
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def confirm(count: int, yes: bool, verb: str = "delete", done: str = "deleted") -> None:
    """Ask a person to type the number of tags; RefusedError without the right answer."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError(
            f"refused, nothing was {done}: without a terminal to ask on, say --yes", "confirmation"
        )
    answer = click.prompt(
        f"Type {count} to {verb} {counted(count, 'tag')}", default="", show_default=False, err=True
    )
    if answer.strip().replace(",", "") != str(count):
        raise RefusedError(f"not confirmed, nothing was {done}", "confirmation")


def forget_unused(run: RunDirectory) -> None:
    """A run that never began leaves no directory behind."""
    if not run.journal.exists():
        shutil.rmtree(run.path, ignore_errors=True)
