"""The emulator itself: a server on loopback in which the gateway stands before the registry service."""

import asyncio
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Self

from aiohttp import web

from pruner.emulator.answers import Answer, authentication_failed, url_not_found
from pruner.emulator.config import EmulatorConfig
from pruner.emulator.control import PREFIX, control
from pruner.emulator.counters import Counters
from pruner.emulator.faults import Fault, FaultScript
from pruner.emulator.gate import Gate
from pruner.emulator.seeds import open_seed
from pruner.emulator.service import RegistryService
from pruner.emulator.signature import SignatureVerifier
from pruner.emulator.store import Store
from pruner.emulator.target import FORBIDDEN, Call, Operation, read_target
from pruner.emulator.throttle import Limits, Throttle
from pruner.emulator.wire import cut, described_answer, drip, reset, response
from pruner.registry.ncr import protocol


class Emulator:
    """A small NAVER Cloud Container Registry for tests, demonstrations and benchmarks.

    Changes made through its methods from another thread take effect with the next request.
    """

    def __init__(
        self,
        config: EmulatorConfig,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the seed; ``clock`` gives seconds since the epoch, ``monotonic`` paces the limits."""
        self.config = config
        self.counters = Counters()
        self._clock = clock
        self._monotonic = monotonic
        self._offset = config.clock_offset_seconds
        now_ms = round(self._now() * 1000) if config.now_ms is None else config.now_ms
        self._service = RegistryService(config, open_seed(config.seed, now_ms), self.counters, self._now)
        self._prefixes = frozenset(protocol.REGION_PREFIXES[region] for region in config.regions)
        self._verifier = SignatureVerifier({config.access_key: config.secret_key}, self._now)
        self._throttle = Throttle(config.limits, monotonic)
        self._script = FaultScript(config.faults, config.seed_random)
        self._gates: tuple[Gate[Call], ...] = ()
        self._in_flight = 0
        self._date = (0, "")
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._stopping = asyncio.Event()
        self._port = config.port

    async def start(self) -> None:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        self._stopping.clear()
        # A handler that hangs must end when its client goes away, or it would stay for ever.
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._listener = await loop.create_server(
            self._server, self.config.host, self.config.port, backlog=1024
        )
        self._port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop all connections; the counters stay readable."""
        self._stopping.set()
        for gate in self._gates:
            gate.open()
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            await self._server.shutdown(timeout=0.2)
        if self._listener is not None:
            await self._listener.wait_closed()
        self._listener = self._server = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    @property
    def origin(self) -> str:
        """Scheme, host and port, for control requests."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self._port}"

    @property
    def endpoint(self) -> str:
        """Base URL of the first region, what stands before ``/repositories``."""
        return self.endpoint_for(self.config.regions[0])

    def endpoint_for(self, region: str) -> str:
        """Return the base URL of a region by its name, for example ``gov-KR``."""
        return self.origin + protocol.REGION_PREFIXES[region]

    @property
    def store(self) -> Store:
        """What is served, as it is now."""
        return self._service.store

    @property
    def deleted_tags(self) -> list[tuple[str, str, str]]:
        """Registry, image and tag of every DELETE that removed one, in order."""
        return self._service.deleted_tags

    def hold(
        self,
        method: str | None = None,
        *,
        after: int = 0,
        matches: Callable[[Call], bool] = lambda _: True,
    ) -> Gate[Call]:
        """Put up a gate that requests come to before their signature is checked; stopping opens it.

        It holds those of ``method`` (None: any) that ``matches`` is true of, but for the first ``after``.
        """

        def is_meant(call: Call) -> bool:
            return method in {None, call.method} and matches(call)

        gate = Gate(is_meant, after=after)
        self._gates = (*self._gates, gate)
        return gate

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Replace the fault rules; their counts begin anew."""
        self._script = FaultScript(faults, self.config.seed_random)

    def set_limits(self, limits: Limits) -> None:
        """Replace the limits; buckets are full and quotas untouched again."""
        self._throttle = Throttle(limits, self._monotonic)

    def set_keys(self, access_key: str, secret_key: str) -> None:
        """Accept this key only, as after a rotation."""
        self._verifier = SignatureVerifier({access_key: secret_key}, self._now)

    def set_clock_offset(self, seconds: float) -> None:
        """Set how much the emulator's clock is ahead of the true one."""
        self._offset = seconds

    def move_tag(self, subject: str, digest: str | None = None) -> bool:
        """Re-push ``registry/image:tag``: another digest, updated now. False if there is no such tag."""
        return self._service.move(subject, digest)

    def remove_tag(self, subject: str) -> bool:
        """Take ``registry/image:tag`` away as somebody else would; it is not counted as deleted."""
        return self._service.remove(subject)

    def _now(self) -> float:
        return self._clock() + self._offset

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        if target.startswith(PREFIX):
            answer = control(self, request.method, target, await request.read())
            return response(answer, {})
        self._in_flight += 1
        if self._in_flight > self.counters.max_in_flight:
            self.counters.max_in_flight = self._in_flight
        try:
            if self.config.latency_seconds:
                await asyncio.sleep(self.config.latency_seconds)
            call = read_target(request.method, target, self._prefixes)
            for gate in self._gates:
                await gate.enter(call)
            return await self._answer(request, target, call)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.BaseRequest, target: str, call: Call) -> web.StreamResponse:
        self.counters.count_operation(call.operation.value)
        if call.operation in FORBIDDEN:
            # Counted before anything can refuse it: sending one is the mistake.
            self.counters.forbidden_deletes += 1
        refusal = self._gateway_refusal(request, target, call)
        if refusal is not None:
            return self._send(refusal)
        if not self._script.faults:
            return self._send(self._service.answer(call))
        return await self._answer_with_faults(request, call)

    def _gateway_refusal(self, request: web.BaseRequest, target: str, call: Call) -> Answer | None:
        if call.operation is Operation.UNKNOWN:
            return url_not_found()
        problem = self._verifier.problem(request.method, target, request.headers)
        if problem is not None:
            self.counters.unauthenticated += 1
            return authentication_failed(problem)
        refusal = self._throttle.refusal(self._in_flight)
        if refusal is not None:
            self.counters.throttled += 1
        return refusal

    async def _answer_with_faults(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        firing = self._script.firing(call)
        self.counters.faults += len(firing)
        for fault in firing:
            if fault.is_hook:
                self._service.run_hook(fault)
        await self._delay(firing, after_commit=False)
        ending = next((fault for fault in firing if fault.ends_request), None)
        if ending is not None and not ending.carries_out:
            return await self._end(request, ending, None)
        answer = self._service.answer(call, firing)
        await self._delay(firing, after_commit=True)
        return self._send(answer) if ending is None else await self._end(request, ending, answer)

    async def _delay(self, firing: Sequence[Fault], *, after_commit: bool) -> None:
        for fault in firing:
            if fault.action == "delay" and fault.commit is after_commit:
                await self._sleep(1.0 if fault.seconds is None else fault.seconds)

    async def _end(self, request: web.BaseRequest, fault: Fault, answer: Answer | None) -> web.StreamResponse:
        """End a request as a fault says; ``answer`` is the true one if the operation was carried out."""
        if fault.action == "status":
            return self._send(described_answer(fault))
        self.counters.count_status("aborted")
        transport = request.transport
        if transport is not None:
            await self._break(transport, fault, answer or Answer(200))
        # aiohttp wants a response; it cannot reach anybody over a closed connection.
        return web.Response()

    async def _break(self, transport: asyncio.Transport, fault: Fault, answer: Answer) -> None:
        if fault.action == "drip":
            await drip(transport, answer, self._headers(), 1.0 if fault.seconds is None else fault.seconds)
        elif fault.action == "cut":
            cut(transport, answer, self._headers())
        else:
            if fault.action == "hang":
                await self._stopping.wait()
            reset(transport)

    async def _sleep(self, seconds: float) -> None:
        """Wait, but no longer than the server runs."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _send(self, answer: Answer) -> web.Response:
        self.counters.count_status(str(answer.status))
        return response(answer, self._headers())

    def _headers(self) -> dict[str, str]:
        second = int(self._now())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True))
        return {"Date": self._date[1], protocol.HEADER_TRACE_ID: f"{self.counters.requests:032x}"}
