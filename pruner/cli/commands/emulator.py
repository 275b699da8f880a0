"""``pruner emulator``."""

import asyncio
import signal
from pathlib import Path

import click

from pruner.cli.talk import Talk
from pruner.errors import InputError
from pruner.files import open_regular


@click.command("emulator", help="Serve an embedded NCR on loopback, for trying things out.")
@click.option("--seed", default="demo", metavar="SEED", help="demo, generate:RxIxT[,seed=N], or a JSON file.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free port."
)
@click.option(
    "--latency", type=click.FloatRange(0, 60), default=0.0, metavar="SECONDS", help="Added to every answer."
)
@click.option("--limits", metavar="JSON", help='For example {"bucket": {"rate": 50, "burst": 10}}.')
@click.option(
    "--faults", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Fault rules (JSON)."
)
@click.pass_obj
def command(talk: Talk, seed: str, port: int, latency: float, limits: str | None, faults: Path | None) -> int:
    """Serve until interrupted."""
    from pruner.emulator import Emulator, EmulatorConfig, parse_faults, parse_limits

    try:
        if seed != "demo" and not seed.startswith("generate:"):
            # It would wait for a pipe.
            open_regular(Path(seed)).close()
        config = EmulatorConfig(
            seed=seed,
            port=port,
            latency_seconds=latency,
            limits=parse_limits(limits) if limits else EmulatorConfig().limits,
            faults=parse_faults(_content(faults)) if faults else (),
        )
        emulator = Emulator(config)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"the emulator cannot start: {error}") from None
    try:
        asyncio.run(_serve(emulator, config.access_key, config.secret_key))
    except OSError as error:
        raise InputError(f"port {port} cannot be used: {error.strerror or error}") from None
    return 0


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


async def _serve(emulator: "object", access_key: str, secret_key: str) -> None:
    from pruner.emulator import Emulator

    assert isinstance(emulator, Emulator)
    finish = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, finish.set)
    async with emulator:
        click.echo(f"export PRUNER_ENDPOINT={emulator.endpoint}")
        click.echo(f"export NCLOUD_ACCESS_KEY_ID={access_key}")
        click.echo(f"export NCLOUD_SECRET_ACCESS_KEY={secret_key}")
        click.echo("# Serving until interrupted; these keys are published examples.", err=True)
        await finish.wait()
