"""What ``/metrics`` shows, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from components.inference.server.pool import Pool

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_RATES = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)


class Metrics:
    """Counters of one server. Labels are models that exist, never names out of requests."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lapidar_requests", "Requests by route, model and HTTP status.", ["route", "model", "status"], registry=self._registry
        )
        self.prompt_tokens = Counter("lapidar_prompt_tokens", "Tokens of prompts.", ["model"], registry=self._registry)
        self.tokens = Counter("lapidar_generated_tokens", "Tokens of answers.", ["model"], registry=self._registry)
        self.reused = Counter(
            "lapidar_reused_tokens", "Prompt tokens that weren't computed again.", ["model"], registry=self._registry
        )
        self.abandoned = Counter(
            "lapidar_abandoned_requests", "Requests whose client left before the answer was whole.", registry=self._registry
        )
        self.first_token = Histogram(
            "lapidar_first_token_seconds", "From request to first token.", ["model"], buckets=_SECONDS, registry=self._registry
        )
        self.rate = Histogram(
            "lapidar_tokens_per_second", "Of one answer, after its first token.", ["model"], buckets=_RATES, registry=self._registry
        )
        self._queue = Gauge("lapidar_queue_length", "Requests that wait for their first token.", ["model"], registry=self._registry)
        self._running = Gauge("lapidar_running_requests", "Requests that a model has in hand.", ["model"], registry=self._registry)
        self._loaded = Gauge("lapidar_models_loaded", "Loaded base models.", registry=self._registry)
        self._memory = Gauge("lapidar_model_memory_bytes", "Memory of a model's process.", ["model"], registry=self._registry)
        self._budget = Gauge("lapidar_memory_budget_bytes", "What all models may hold.", registry=self._registry)
        self._loads = Gauge("lapidar_model_loads", "How often a model was loaded.", ["model"], registry=self._registry)

    def text(self) -> bytes:
        """All of them as they are now."""
        entries = list(self._pool.entries.values())
        self._loaded.set(sum(entry.loaded for entry in entries))
        self._budget.set(self._pool.budget)
        for entry in entries:
            self._queue.labels(entry.name).set(entry.waiting)
            self._running.labels(entry.name).set(entry.users)
            self._memory.labels(entry.name).set(entry.nbytes)
            self._loads.labels(entry.name).set(entry.loads)
        return generate_latest(self._registry)
