"""Sharing what an account may send with those who work on the same plan: see ``engine/presence.py``."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio

from pruner.app.saying import Say
from pruner.engine.gate import Gate
from pruner.engine.presence import NOTHING_LEFT, Presence, agree

POLL_SECONDS: Final = 0.2
"""How often is looked who is there."""
ROOM_POLL_SECONDS: Final = 0.02
ROOM_SECONDS: Final = 10.0
"""Who has not made room by then does not run, and sends nothing."""
DRAIN_SECONDS: Final = 5.0
"""So long is waited, before others are told, for what was sent when one might send more."""


class Sharing:
    """One of ``parts`` of what was declared is one's own; without ``presence`` all of it.

    ``limit`` bounds all gates to their part of ``parts``, and gives them.
    """

    def __init__(self, presence: Presence | None, talk: Say, limit: Callable[[], Sequence[Gate]]) -> None:
        self.parts = 1
        self._presence = presence
        self._talk = talk
        self._limit = limit

    async def take_part(self) -> None:
        """Before anything is sent: find out who else is there, and wait until they have made room."""
        if self._presence is None:
            return
        give_up = time.monotonic() + ROOM_SECONDS
        parts = float("inf")
        while (parts := await self._agree(self._presence, parts)) == float("inf"):
            if time.monotonic() > give_up:
                present = self._presence.look().present
                self._presence.share(present)
                await self._share_among(present)
                return
            await anyio.sleep(ROOM_POLL_SECONDS)

    async def keep_parts(self) -> None:
        """Go on sharing with those who are there, until cancelled: then nothing is sent any more."""
        if self._presence is None:
            return
        try:
            await self._keep_parts(self._presence)
        finally:
            with suppress(OSError):
                self._presence.share(NOTHING_LEFT)

    async def _keep_parts(self, presence: Presence) -> None:
        is_seen = True
        while True:
            try:
                await self._agree(presence, self.parts)
                is_seen = True
            except OSError as error:
                # Better to go on with the part that one has than to cut off a run.
                if is_seen:
                    self._talk.warn(f"who else works on the plan cannot be seen: {error.strerror or error}")
                is_seen = False
            await anyio.sleep(POLL_SECONDS)

    async def _agree(self, presence: Presence, parts: float) -> float:
        in_thread = anyio.to_thread.run_sync
        return await agree(
            parts,
            lambda: in_thread(presence.look),
            lambda among: in_thread(presence.share, among),
            self._share_among,
        )

    async def _share_among(self, parts: int) -> None:
        """Take one of ``parts``, and wait until no more is in flight than that."""
        self.parts = parts
        gates = self._limit()
        give_up = time.monotonic() + DRAIN_SECONDS
        while any(gate.in_flight > gate.pacer.max_in_flight for gate in gates):
            if time.monotonic() > give_up:
                return
            await anyio.sleep(ROOM_POLL_SECONDS)
