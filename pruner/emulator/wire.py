"""Putting answers on the wire, whole or broken."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict

from pruner.emulator.answers import Answer, gateway_error, registry_error
from pruner.emulator.faults import Fault


def response(answer: Answer, headers: Mapping[str, str]) -> web.Response:
    """Return an answer for aiohttp to send."""
    return web.Response(status=answer.status, body=answer.body or None, headers=_headers(answer, headers))


def described_answer(fault: Fault) -> Answer:
    """Return the answer that a ``status`` rule describes."""
    if fault.body is not None:
        plain = Answer(fault.status, fault.body.encode(), "application/json")
    elif fault.gateway_code is not None:
        plain = gateway_error(fault.status, fault.gateway_code, message=fault.message)
    elif fault.return_code is not None or fault.message is not None or fault.status >= 400:
        plain = registry_error(fault.status, fault.message or "Failed.", code=fault.return_code)
    else:
        plain = Answer(fault.status)
    return Answer(
        fault.status,
        plain.body.ljust(fault.body_bytes),
        fault.content_type or plain.content_type,
        dict(fault.headers),
    )


async def drip(
    transport: asyncio.Transport, answer: Answer, headers: Mapping[str, str], seconds: float
) -> None:
    """Send an answer byte by byte, ``seconds`` apart, and close the connection."""
    for byte in _octets(answer, headers):
        if transport.is_closing():
            return
        transport.write(bytes((byte,)))
        await asyncio.sleep(seconds)
    transport.close()


def cut(transport: asyncio.Transport, answer: Answer, headers: Mapping[str, str]) -> None:
    """Send the first half of an answer and close the connection."""
    octets = _octets(answer, headers)
    transport.write(octets[: len(octets) // 2])
    transport.close()


def reset(transport: asyncio.Transport) -> None:
    """Drop the connection with a TCP reset."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # Closing without lingering is what makes the kernel send RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _headers(answer: Answer, headers: Mapping[str, str]) -> CIMultiDict[str]:
    merged = CIMultiDict(headers)
    if answer.content_type is not None:
        merged["Content-Type"] = answer.content_type
    if answer.headers:
        merged.update(answer.headers)
    return merged


def _octets(answer: Answer, headers: Mapping[str, str]) -> bytes:
    merged = _headers(answer, headers)
    if answer.status != HTTPStatus.NO_CONTENT:
        merged["Content-Length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in merged.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + answer.body
