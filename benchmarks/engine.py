"""pruner's engine as a client: a plan carried out through the real transport, gate, pacer and journal."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks import work
from benchmarks.loops import Stopwatch, run
from pruner.engine.access import RegistryAccess
from pruner.engine.executor import Executor, ExecutorSettings
from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.engine.journal import Journal, Progress
from pruner.engine.pacer import UnlimitedPacer
from pruner.engine.retry import Backoff
from pruner.engine.state import RunState
from pruner.model import ReasonKind, Status, Tag, Target
from pruner.plan.file import Plan, PlanWriter, open_plan
from pruner.plan.records import FORMAT, VERSION, Entry, Header, ImageRecord, RegistryFacts
from pruner.registry.base import Want, want_everything
from pruner.registry.clients import new_client
from pruner.registry.endpoint import parse_endpoint
from pruner.registry.exchange import HttpClient
from pruner.registry.ncr.client import NcrDeleter, NcrReader
from pruner.registry.ncr.credentials import Credentials, CredentialSource
from pruner.registry.ncr.transport import Transport
from pruner.registry.secret import Secret


class MemoryReader:
    """Lists images without asking anybody: every image has the tags of ``benchmarks.work``."""

    async def registries(self) -> dict[str, tuple[str, ...]]:
        """The one registry."""
        return [work.REGISTRY]

    async def images(self, registry: str) -> list[str]:
        """Not asked for by the engine."""
        return []

    async def tags(self, registry: str, image: str, want: Want = want_everything) -> list[Tag] | None:
        """The tags of an image, made anew each time."""
        return [
            Tag(
                Target(registry, image, work.tag_name(number)),
                work.digest(number),
                20_000_000 + number,
                None,
                work.UPDATED_MS,
            )
            for number in range(work.TAGS_PER_IMAGE)
        ]

    always_reads_times = True

    async def tag(self, target: Target) -> Tag | None:
        """Not asked for as long as the server answers."""
        raise NotImplementedError


def write_plan(path: Path, count: int, endpoint: str) -> Plan:
    """A plan of ``count`` deletions."""
    facts = {work.REGISTRY: RegistryFacts(endpoint)}
    header = Header(FORMAT, VERSION, "benchmark", "", (), facts, work.UPDATED_MS, work.UPDATED_MS, {})
    with path.open("wb") as file:
        writer = PlanWriter(file, header)
        for first in range(0, count, work.TAGS_PER_IMAGE):
            numbers = range(min(work.TAGS_PER_IMAGE, count - first))
            image = work.image_name(first // work.TAGS_PER_IMAGE)
            writer.image(ImageRecord(work.REGISTRY, image, len(numbers), len(numbers)))
            for entry in _entries(image, numbers):
                writer.entry(entry)
        writer.finish()
    return open_plan(path)


def _entries(image: str, numbers: range) -> Iterator[Entry]:
    for number in numbers:
        yield Entry(
            0,
            work.REGISTRY,
            image,
            work.tag_name(number),
            "builds",
            "policy.yaml:7",
            ReasonKind.DELETE_RULE,
            "tags build-*, older than 14d",
            work.digest(number),
            20_000_000 + number,
            work.UPDATED_MS,
            delete_shared=True,
        )


def _connect(port: int, workers: int, client: HttpClient, *, listing: bool) -> RegistryAccess:
    endpoint = parse_endpoint(f"http://127.0.0.1:{port}{work.PREFIX}")
    credentials = CredentialSource(Credentials(work.ACCESS_KEY, Secret(work.SECRET_KEY), "benchmark"))
    transport = Transport(client, endpoint, credentials)
    gate = Gate(UnlimitedPacer(workers), asyncio.get_running_loop().time)
    governor = Governor(gate, Backoff(), Random(1))
    reader = NcrReader(transport, governor) if listing else MemoryReader()
    return RegistryAccess(reader, reader, NcrDeleter(transport), gate)


@dataclass(slots=True)
class Job:
    """A run that is ready to begin."""

    plan: Plan
    executor: Executor
    journal: Journal
    state: RunState
    client: HttpClient

    async def run(self) -> None:
        """Carry the plan out."""
        await self.executor.run({work.REGISTRY: self.plan.images()}, Progress())

    async def finish(self) -> None:
        """Close everything; SystemExit unless every tag was deleted."""
        self.journal.close()
        await self.client.close()
        count = self.plan.entries_left
        if self.state.stats.statuses[Status.DELETED] != count:
            raise SystemExit(f"not all deleted: {self.state.stats.statuses} {self.state.message}")


async def prepare(folder: Path, port: int, count: int, workers: int, *, listing: bool = False) -> Job:
    """Write a plan of ``count`` deletions and connect; with ``listing`` images are listed again by HTTP."""
    plan = write_plan(folder / "plan.jsonl", count, f"http://127.0.0.1:{port}")
    client = new_client(f"http://127.0.0.1:{port}")
    access = _connect(port, workers, client, listing=listing)
    state = RunState([access.gate])
    journal = Journal(folder / "journal.jsonl")
    settings = ExecutorSettings(workers=lambda _: workers)
    executor = Executor({work.REGISTRY: access}, state, journal, settings, dice=Random(1))
    return Job(plan, executor, journal, state, client)


async def carry_out(folder: Path, port: int, count: int, workers: int, *, listing: bool = False) -> None:
    """Delete ``count`` tags and say how long it took, from the first listing to the last outcome."""
    job = await prepare(folder, port, count, workers, listing=listing)
    stopwatch = Stopwatch()
    await job.run()
    stopwatch.tell(count)
    await job.finish()


def main(
    port: int, count: int, workers: int, listing: bool = False, plain: bool = False, profile: str = ""
) -> None:
    """Run once; with ``profile`` under cProfile, which writes there."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        job = carry_out(Path(folder), port, count, workers, listing=listing)
        if not profile:
            run(job, plain=plain)
            return
        import cProfile

        with cProfile.Profile() as profiler:
            run(job, plain=plain)
        profiler.dump_stats(profile)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
