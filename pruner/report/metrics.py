"""A run as metrics of Prometheus, after its conventions on names, units and labels.

Needs ``prometheus-client``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, get_args

from pruner import __version__
from pruner.errors import Guard, InputError
from pruner.model import Status

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MISSING_EXTRA: Final = "metrics need prometheus-client: pip install 'ncr-pruner[metrics]'"
GUARDS: Final[tuple[Guard, ...]] = get_args(Guard)
LAST_SUCCESS: Final = "pruner_last_success_timestamp_seconds"


@dataclass(slots=True)
class RunNumbers:
    """What is known of a run at one moment. Rates in requests per second, times in epoch seconds."""

    outcomes: Mapping[Status, int] = field(default_factory=dict)
    requests: int = 0
    refused: int = 0
    retries: int = 0
    plan_targets: int = 0
    in_flight: int = 0
    rate: float = 0.0
    ceiling: float = 0.0
    refused_by: tuple[Guard, ...] = ()
    ended_at: float | None = None
    """None while the run is on."""
    exit_code: int = 0
    seconds: float = 0.0
    last_success: float | None = None


def exposition(numbers: RunNumbers) -> bytes:
    """The text format of the metrics; InputError where ``prometheus-client`` is not installed."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise InputError(MISSING_EXTRA) from None
    registry = CollectorRegistry()
    registry.register(_Collector(numbers))
    return generate_latest(registry)


def last_success_of(text: str) -> float | None:
    """When a run last succeeded, out of metrics that were written before; None if they do not say."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == LAST_SUCCESS:
            try:
                return float(value)
            except ValueError:
                return None
    return None


class _Collector:
    """One scrape."""

    def __init__(self, numbers: RunNumbers) -> None:
        self._numbers = numbers

    def collect(self) -> "Iterator[Metric]":
        """All metrics."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        numbers = self._numbers
        outcomes = CounterMetricFamily(
            "pruner_targets", "Targets that have ended, by outcome.", labels=["outcome"]
        )
        for status in Status:
            outcomes.add_metric([status.value], numbers.outcomes.get(status, 0))
        yield outcomes
        yield CounterMetricFamily("pruner_requests", "Requests sent to registries.", numbers.requests)
        yield CounterMetricFamily(
            "pruner_requests_refused", "Requests that were refused for speed or number.", numbers.refused
        )
        yield CounterMetricFamily("pruner_retries", "Attempts after the first.", numbers.retries)
        yield GaugeMetricFamily("pruner_plan_targets", "Targets of the plan.", numbers.plan_targets)
        yield GaugeMetricFamily(
            "pruner_requests_in_flight", "Requests that wait for an answer.", numbers.in_flight
        )
        yield GaugeMetricFamily(
            "pruner_rate_requests_per_second", "Requests per second that are granted now.", numbers.rate
        )
        yield GaugeMetricFamily(
            "pruner_rate_ceiling_requests_per_second",
            "Requests per second that are ever granted.",
            numbers.ceiling,
        )
        refused = GaugeMetricFamily(
            "pruner_run_refused", "Whether the run was refused, by guard.", labels=["guard"]
        )
        for guard in GUARDS:
            refused.add_metric([guard], float(guard in numbers.refused_by))
        yield refused
        yield from self._ended()
        build = GaugeMetricFamily("pruner_build_info", "The version of pruner.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    def _ended(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import GaugeMetricFamily

        numbers = self._numbers
        if numbers.ended_at is not None:
            yield GaugeMetricFamily(
                "pruner_last_run_timestamp_seconds", "When the last run ended.", numbers.ended_at
            )
            yield GaugeMetricFamily(
                "pruner_last_run_exit_code", "The exit code of the last run.", numbers.exit_code
            )
            yield GaugeMetricFamily(
                "pruner_last_run_duration_seconds", "How long the last run took.", numbers.seconds
            )
        if numbers.last_success is not None:
            yield GaugeMetricFamily(
                LAST_SUCCESS, "When a run last ended with exit code 0.", numbers.last_success
            )
