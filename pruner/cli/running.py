"""What ``run``, ``delete``, ``apply`` and ``resume`` have in common: options, preview, question, telling."""

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pruner.app.applying import ApplyOptions, Ended, ask, carry_out, check_again, check_grown, forget_unused
from pruner.app.connections import Connections
from pruner.app.deadline import before
from pruner.app.executing import Helper, kept_registries, locked
from pruner.app.options import ConnectionOptions, ExecutionOptions, InUseOptions
from pruner.app.planning import Planned, Source, make_plan, plan_live
from pruner.cli.consoles import result_console
from pruner.cli.options import split_connection, split_in_use
from pruner.cli.previewing import show_preview
from pruner.cli.progress import ProgressHelper
from pruner.cli.signals import SignalHelper
from pruner.cli.talk import Talk
from pruner.cli.watching import Watch
from pruner.engine.runs import RunDirectory, new_run, state_directory
from pruner.errors import ExitCode, InputError, RefusedError
from pruner.files import append_text, private_folder
from pruner.names import shown_path
from pruner.plan.file import Plan
from pruner.plan.guards import Guards
from pruner.plan.inventory_file import InventoryFile
from pruner.policy.policy import PolicySet
from pruner.report.preview import count_going, markdown_lines
from pruner.report.terminal import show_summary
from pruner.report.text import counted
from pruner.report.write import Report

WITHOUT_LIMIT_MS = sys.maxsize


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a command plans and executes. ``max_age`` of a plan in milliseconds."""

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
    max_age: int = WITHOUT_LIMIT_MS
    max_growth: float | None = None
    step_summary: bool = False
    true_bytes: bool = False
    in_use: InUseOptions = field(default_factory=InUseOptions)
    watch: Watch | None = None


GUARDS = ("max_deletions", "max_share", "keep_at_least")


def options_from(values: dict[str, Any]) -> RunOptions:
    """The options of a command out of its keywords (those of ``cli.options``)."""
    connection = split_connection(values)
    guards = Guards(**{name: values.pop(name, None) for name in GUARDS})
    execution = ExecutionOptions(
        values.pop("durable", False), values.pop("deadline", None), values.pop("keep_manifests", False)
    )
    return RunOptions(connection, guards, execution, in_use=split_in_use(values), **values)


def apply_options(options: RunOptions, talk: Talk) -> ApplyOptions:
    """How the command line carries a plan out: with a preview, a question, progress and signals."""
    return ApplyOptions(
        options.connection,
        state_directory(options.state_dir),
        options.max_age,
        options.execution,
        options.in_use,
        options.report_dir,
        options.max_growth,
        _helpers(options, talk),
        lambda plan: _ask(plan, options),
    )


def _helpers(options: RunOptions, talk: Talk) -> list[Helper]:
    watching: list[Helper] = [] if options.watch is None else [options.watch]
    return [SignalHelper(talk), ProgressHelper(talk), *watching]


def _ask(plan: Plan, options: RunOptions) -> None:
    """Show what would go, and ask; RefusedError if the answer is no."""
    show_preview(plan, options.form, all_tags=options.all_tags)
    if options.watch is not None:
        options.watch.planned(plan)
    if going := count_going(plan):
        confirm(going, options.yes)


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
    applying = apply_options(options, talk)
    state = applying.state
    if options.report_dir is not None:
        private_folder(options.report_dir)
    run = new_run(state, time.time())
    try:
        async with Connections(options.connection, policies.registries, talk, state=state) as connections:
            connections.resolve(policies.registry_names)
            # Before anything is listed: lists shift while another run deletes.
            with locked(connections, state, run):
                plan, in_use, proved = await _planned(policies, connections, run, options, talk)
                await ask(applying.consent, plan)
                left = check_again(plan, proved, applying)
                ended = await carry_out(connections, plan, run, applying, talk, in_use, left)
            return finish(ended, options, talk)
    finally:
        forget_unused(run)


async def _planned(
    policies: PolicySet, connections: Connections, run: RunDirectory, options: RunOptions, talk: Talk
) -> Planned:
    """The plan that is about to be asked about, and what it takes to carry it out."""
    with before(options.execution.deadline):
        planned = await plan_live(
            connections, policies, options.guards, run.plan, talk, in_use=options.in_use
        )
        # What is missing to keep manifests is better said before the question.
        await connections.open_doors(kept_registries(planned.plan, options.execution))
    if planned.plan.entries_left:
        check_grown(planned.plan, run, state_directory(options.state_dir), options.max_growth)
    return planned


def finish(ended: Ended, options: RunOptions, talk: Talk) -> ExitCode:
    """Tell how a run ended; its exit code."""
    if options.watch is not None:
        options.watch.report = ended.report
    tell(ended.report, talk, on_stdout=options.form == "table")
    if options.step_summary:
        append_step_summary((ended.report.folder / "summary.md").read_text(encoding="utf-8"))
    return ended.exit_code


def tell(report: Report, talk: Talk, *, on_stdout: bool = True) -> None:
    """Show the summary of a run, where its report is, and how to go on.

    It goes to stderr where stdout holds a preview for machines.
    """
    show_summary(report, result_console(stderr=not on_stdout))
    talk.say(f"Report: {report.folder}{'' if str(report.folder).endswith('/') else '/'}", run=report.run_id)
    if report.summary.not_done:
        talk.say(f"Go on with: pruner resume {report.run_id}")


def append_step_summary(text: str, env: Mapping[str, str] = os.environ) -> None:
    """Append Markdown to the job summary of a GitHub Actions step."""
    path = env.get("GITHUB_STEP_SUMMARY")
    if not path:
        raise InputError("--step-summary: GITHUB_STEP_SUMMARY is not set")
    try:
        append_text(Path(path), text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown_path(path)} cannot be written: {reason}") from None


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
