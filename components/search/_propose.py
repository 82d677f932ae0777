"""What to try next: first configurations from the layers' sensitivity, then optuna's NSGA-II, then its Gaussian processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.search.qr_adaptor import Config

Layers = tuple[tuple[int, ...], tuple[int, ...]]
"""(bits, ranks) of all layers."""
_LEVELS = (0.5, 0.75, 0.25, 1.0)


def first(config: Config, sensitivity: Sequence[dict[str, Any]], rank: int) -> list[Layers]:
    """Configurations that the search begins with: uniform ones, and ones where the more sensitive layers get more.

    Args:
        sensitivity: records with ``layer`` and ``value``; a layer's values of all widths are added up.
        rank: LoRA rank of the first uniform configuration.
    """
    count = 1 + max(record["layer"] for record in sensitivity)
    total = [sum(record["value"] for record in sensitivity if record["layer"] == layer) for layer in range(count)]
    order = sorted(range(count), key=lambda layer: total[layer])
    place = [order.index(layer) / max(1, count - 1) for layer in range(count)]

    def at(values: Sequence[int], level: float) -> int:
        return values[round(min(1.0, max(0.0, level)) * (len(values) - 1))]

    near = (min(config.bits, key=lambda width: abs(width - 4)), min(config.ranks, key=lambda each: abs(each - rank)))
    found = [((near[0],) * count, (near[1],) * count)]
    for level in _LEVELS:
        for spread in (1.0, 0.0):
            levels = [level + spread * (p - 0.5) for p in place]
            found.append((tuple(at(config.bits, each) for each in levels), tuple(at(config.ranks, each) for each in levels)))
    return list(dict.fromkeys(found))[: config.population]


def propose(
    config: Config, beginning: Sequence[Layers], tried: Callable[[Sequence[int], Sequence[int]], tuple[float, int]], seed: int
) -> list[dict[str, Any]]:
    """Trials in their order: ``number, step, bits, ranks, loss, bytes, front``. The same seed and losses give the same trials.

    Args:
        tried: (loss, bytes) of a configuration.
    """
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    count = len(beginning[0][0])
    space: dict[str, Any] = {}
    for layer in range(count):
        space[f"bits{layer}"] = optuna.distributions.IntDistribution(0, len(config.bits) - 1)
        space[f"rank{layer}"] = optuna.distributions.IntDistribution(0, len(config.ranks) - 1)
    genetic = optuna.samplers.NSGAIISampler(population_size=config.population, seed=seed)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=genetic)
    values: list[int] = list(config.bits)
    for widths, each in beginning:
        places = {f"bits{i}": values.index(b) for i, b in enumerate(widths)}
        study.enqueue_trial(places | {f"rank{i}": config.ranks.index(r) for i, r in enumerate(each)})
    found: list[dict[str, Any]] = []
    for number in range(config.genetic + config.bayesian):
        if number == config.genetic:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.sampler = optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
        trial = study.ask(space)
        bits = [config.bits[trial.params[f"bits{i}"]] for i in range(count)]
        ranks = [config.ranks[trial.params[f"rank{i}"]] for i in range(count)]
        loss, size = tried(bits, ranks)
        study.tell(trial, [loss, float(size)])
        step = "sensitivity" if number < len(beginning) else "genetic" if number < config.genetic else "bayesian"
        found.append({"number": number, "step": step, "bits": bits, "ranks": ranks, "loss": loss, "bytes": size})
    front = {trial.number for trial in study.best_trials}
    return [trial | {"front": trial["number"] in front} for trial in found]
