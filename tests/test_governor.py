"""Reading through the gate: what is tried again, and what is final at once."""

from random import Random

import pytest

from pruner.engine.gate import Gate
from pruner.engine.governor import Governor
from pruner.engine.pacer import UnlimitedPacer
from pruner.engine.retry import Backoff
from pruner.errors import ConnectError, HostNameError, UnreachableError


class Server:
    """Answers what it is told, in order, and counts what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def no_sleep(seconds):
    assert seconds >= 0


def governor(gate):
    return Governor(gate, Backoff(), Random(1), sleep=no_sleep)


@pytest.fixture
def gate():
    return Gate(UnlimitedPacer())


UNKNOWN_NAME = HostNameError("https://regisrty.example: the host name cannot be resolved")


async def test_a_host_name_that_the_first_request_cannot_resolve_is_final_at_once(gate):
    server = Server(UNKNOWN_NAME, "never asked for")
    with pytest.raises(UnreachableError, match="the host name cannot be resolved"):
        await governor(gate).run(server)
    assert server.asked == 1


async def test_a_name_server_that_fails_later_is_waited_for(gate):
    server = Server("a page", UNKNOWN_NAME, UNKNOWN_NAME, "another page")
    reads = governor(gate)
    assert [await reads.run(server), await reads.run(server)] == ["a page", "another page"]


async def test_a_connection_that_is_refused_at_first_is_tried_again(gate):
    server = Server(ConnectError("no connection"), "a page")
    assert await governor(gate).run(server) == "a page"
