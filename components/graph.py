"""From a recipe to its stages, and from a stage and its inputs to its key. Pure: runs nothing, writes nothing.

``base → [search] → quantize → sft → align… → merge → export``, an ``evaluate.<stage>`` behind every stage that makes a model,
``contamination`` over data alone,
and ``verify`` before registration. The dataset comes first and is made by ``components.data``, not by a stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components import front, methods
from components.artifacts import BenchmarkRef, DatasetRef, Inputs, ModelRef, Sealed
from components.config import Config, MethodConfig
from components.errors import InputError
from components.recipe import Recipe
from components.settings import Settings, device_class
from components.store import Store, stage_key
from components.suites import Evaluation


@dataclass(frozen=True)
class ModelSource:
    """Which stages' outputs make up a model: full weights, and an adapter on top of them or none."""

    base: str
    adapter: str | None = None


@dataclass(frozen=True)
class Node:
    """One stage of a recipe.

    Attributes:
        name: unique in the recipe: ``base``, ``quantize``, ``sft``, ``dpo``, ``grpo``, ``merge``, ``export``, ``evaluate.sft``,
            ``contamination``…
        section: folder of the method's file and of the stage's outputs.
        splits: dataset splits that the stage reads; others don't decide its key.
        models: role → where the model comes from.
        chooser: the stage that chose bits and ranks of the layers for this one.
    """

    name: str
    section: str
    method: str
    config: Config
    splits: tuple[str, ...]
    models: Mapping[str, ModelSource]
    chooser: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all stages whose outputs it reads, the latest of a model's first."""
        names = [name for source in self.models.values() for name in (source.adapter, source.base)]
        return tuple(dict.fromkeys(name for name in (*names, self.chooser) if name is not None))

    @property
    def module(self) -> str:
        """Dotted name of the method's module."""
        return f"{methods.SECTIONS[self.section]}.{self.method}"

    @property
    def modules(self) -> tuple[str, ...]:
        """The method's module and those of the methods that its settings choose: adapters, rewards, benchmarks."""
        return (self.module, *sorted(set(_chosen(self.config)) - {self.module}))


@dataclass(frozen=True)
class Graph:
    """A recipe's stages in order, and which model is current behind each of them; ``final`` names the last before ``merge``."""

    nodes: tuple[Node, ...]
    models: Mapping[str, ModelSource]
    final: str

    def node(self, name: str) -> Node:
        """The node of a name.

        Raises:
            InputError: if the recipe has no such stage.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise InputError(f"the recipe has no stage {name!r}; its stages are data, {', '.join(n.name for n in self.nodes)}")


def build(recipe: Recipe) -> Graph:
    """The stages of a recipe, in the order in which they run.

    Raises:
        InputError: if a recipe that trains would evaluate an endpoint, what a search chooses would not be used, or a stage can't
            train what comes to it.
    """
    if recipe.evaluate is not None and recipe.evaluate.method == "endpoint":
        return _elsewhere(recipe)
    nodes: list[Node] = []
    models: dict[str, ModelSource] = {}

    chooser = None if recipe.search is None else "search"

    def add(name: str, section: str, config: Any, splits: tuple[str, ...], **sources: ModelSource) -> None:
        told = chooser if section in ("quantize", "sft") else None
        nodes.append(Node(name, section, config.method, config, splits, sources, told))

    def evaluate(name: str) -> None:
        if recipe.evaluate is not None:
            add(f"evaluate.{name}", "evaluate", recipe.evaluate, ("heldout", *recipe.evaluate.splits()), model=models[name])

    base = _base_config(recipe)
    if base.method == "pretrain":
        add("base", "model", base, ("corpus",))
    else:
        add("base", "model", base, (), source=ModelSource("source"))
    current = models["base"] = ModelSource("base")
    evaluate("base")
    if recipe.search is not None:
        search = _search_config(recipe)
        add("search", "search", search, search.splits(), model=current)
    if recipe.quantize is not None:
        add("quantize", "quantize", recipe.quantize, recipe.quantize.splits(), model=current)
        current = models["quantize"] = ModelSource("quantize")
    final = "base" if recipe.quantize is None else "quantize"
    trained: list[tuple[str, str, Any]] = [("sft", "sft", recipe.sft)] if recipe.sft is not None else []
    trained += [(name, "align", config) for name, config in _align_names(recipe)]
    for name, section, config in trained:
        _check_adapter(name, config, current.adapter is not None, recipe.quantize is not None and current.base == "quantize")
        add(name, section, config, config.splits(), model=current)
        if (made := config.makes(current.adapter is not None)) == "other":
            continue  # a reward model stands beside the policy, it doesn't follow it
        current = ModelSource(current.base, name) if made == "adapter" else ModelSource(name)
        models[name], final = current, name
        evaluate(name)
    if final == "quantize":  # nothing is trained: this is what is registered
        evaluate(final)
    if final != "base":
        add("merge", "merge", methods.load("merge", "merge").Config(), (), model=current)
        merged = models["merge"] = ModelSource("merge")
    else:
        merged = current
    if recipe.export is not None:
        add("export", "export", recipe.export, recipe.export.splits(), model=merged)
        models["export"] = ModelSource("export")
        evaluate("export")
    if recipe.contamination is not None:
        chosen: list[Any] = recipe.evaluate.benchmarks if recipe.evaluate is not None else []  # type: ignore[attr-defined]
        names = sorted({name for benchmark in chosen if (name := benchmark.stored()) is not None})
        screen = recipe.contamination.model_copy(update={"stored": tuple(names)})
        add("contamination", "screen", screen, screen.splits())
    return Graph(tuple(nodes), models, final)


def _check_adapter(name: str, config: Any, has_adapter: bool, quantized: bool) -> None:
    """What a training stage would refuse after all the stages before it have run.

    Raises:
        InputError: if a second adapter is asked for, or the weights of a quantized model are to be trained.
    """
    made = config.makes(has_adapter)
    if made == "other":
        return
    if has_adapter and config.adapter is not None:
        raise InputError(
            f"{name}.adapter={config.adapter.method}: the model has an adapter already when {name} begins; "
            "leave it out to go on with that one"
        )
    if quantized and made == "model":
        raise InputError(
            f"{name} would train all weights of a quantized model, and integers have no gradient; "
            f"give {name} an adapter ({{method: lora}}), or take out 'quantize:'"
        )


def _elsewhere(recipe: Recipe) -> Graph:
    """The one stage of an evaluation whose model is behind an endpoint."""
    config: Any = recipe.evaluate
    if not isinstance(recipe, Evaluation):
        raise InputError("evaluate.method=endpoint is for `lapidar evaluate`; a recipe's stages evaluate the models that they make")
    return Graph((Node("evaluate.endpoint", "evaluate", config.method, config, ("heldout", *config.splits()), {}),), {}, "endpoint")


def _search_config(recipe: Recipe) -> Any:
    """The search's settings; what they leave open is as in the ``sft`` section, for which it searches.

    Raises:
        InputError: if the recipe wouldn't use what is chosen.
    """
    quantize: Any = recipe.quantize
    if quantize is None or quantize.method != "mixed" or quantize.bits is not None:
        raise InputError("search chooses the bits of each layer: write quantize: {method: mixed}, without bits, beside it")
    sft: Any = recipe.sft
    adapter = sft.adapter if sft is not None else None
    if adapter is None or adapter.method != "lora" or adapter.ranks is not None or adapter.layers is not None:
        raise InputError("search chooses the rank of each layer: sft.adapter has to be method: lora, without layers and ranks")
    taken = {name: getattr(sft, name) for name in ("adapter", "lr", "batch_size", "max_length")}
    search: Any = recipe.search
    return search.model_copy(update={name: value for name, value in taken.items() if getattr(search, name) is None})


def _base_config(recipe: Recipe) -> Any:
    source, template = recipe.model.source, recipe.model.chat_template
    if source == "pretrain":
        return recipe.model.pretrain.model_copy(update={"chat_template": template})
    return methods.load("model", "folder").Config(chat_template=template, eos_token=recipe.model.eos_token)


def _chosen(value: Any) -> Iterator[str]:
    """Modules of the methods inside a config."""
    if isinstance(value, MethodConfig):
        yield type(value).__module__
    if isinstance(value, Config):
        for name in type(value).model_fields:
            yield from _chosen(getattr(value, name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _chosen(item)


def _align_names(recipe: Recipe) -> list[tuple[str, Any]]:
    """(stage name, config): the method's name, numbered from the second of the same method on."""
    named, seen = [], dict[str, int]()
    for config in recipe.align:
        seen[config.method] = seen.get(config.method, 0) + 1
        count = seen[config.method]
        named.append((config.method if count == 1 else f"{config.method}.{count}", config))
    return named


def model_ref(source: ModelSource, sealed: Mapping[str, Sealed], outside: Mapping[str, ModelRef]) -> ModelRef:
    """The files of a model, from sealed outputs or from outside the store (``source``, ``reloaded``)."""
    if source.base in outside:
        return outside[source.base]
    base = sealed[source.base]
    if source.adapter is None:
        return ModelRef(base.path / "model", None, base.digest)
    adapter = sealed[source.adapter]
    digest = hashlib.sha256(f"{base.digest} {adapter.digest}".encode()).hexdigest()
    return ModelRef(base.path / "model", adapter.path / "adapter", digest)


def inputs(
    node: Node,
    data: DatasetRef | None,
    sealed: Mapping[str, Sealed],
    outside: Mapping[str, ModelRef],
    benchmarks: Mapping[str, BenchmarkRef] | None = None,
) -> Inputs:
    """What a stage function gets; of the benchmarks' data what this stage measures."""
    models = {role: model_ref(source, sealed, outside) for role, source in node.models.items()}
    needed = [config.stored() for config in getattr(node.config, "benchmarks", ())] + list(getattr(node.config, "stored", ()))
    choice = front.chosen(sealed[node.chooser]) if node.chooser is not None else None
    return Inputs(data, models, {name: ref for name, ref in (benchmarks or {}).items() if name in needed}, choice=choice)


def input_digests(node: Node, given: Inputs) -> dict[str, str]:
    """Digests of the models, the dataset splits and the benchmarks' data that a stage reads."""
    digests = {f"model:{role}": model.digest for role, model in given.models.items()}
    digests |= {f"benchmark:{name}": ref.md5 for name, ref in given.benchmarks.items()}
    digests |= {f"judge:{name}": ref.judge for name, ref in given.benchmarks.items() if ref.judge}
    if given.choice is not None:
        digests["choice:layers"] = given.choice.digest
    if given.data is not None:
        digests |= {f"data:{name}": given.data.splits[name].sha256 for name in node.splits if name in given.data.splits}
    return digests


def key(node: Node, given: Inputs, seed: int, settings: Settings) -> str:
    """The store key of a stage over its inputs."""
    return stage_key(
        method=f"{node.section}/{node.method}",
        config=node.config.model_dump(mode="json"),
        inputs=input_digests(node, given),
        seed=seed,
        code=methods.code_digest(*node.modules),
        versions=methods.versions(*node.modules),
        device=device_class(settings),
    )


def lookup(
    graph: Graph,
    recipe: Recipe,
    data: DatasetRef | None,
    outside: Mapping[str, ModelRef],
    store: Store,
    settings: Settings,
    benchmarks: Mapping[str, BenchmarkRef] | None = None,
) -> tuple[dict[str, Sealed], dict[str, str]]:
    """What is sealed already: (outputs by stage name, keys by stage name as far as they can be known)."""
    sealed: dict[str, Sealed] = {}
    keys: dict[str, str] = {}
    for node in graph.nodes:
        if not set(node.sources) <= sealed.keys() | outside.keys():
            continue
        keys[node.name] = key(node, inputs(node, data, sealed, outside, benchmarks), recipe.seed, settings)
        if (found := store.open(node.section, node.method, keys[node.name])) is not None:
            sealed[node.name] = found
    return sealed, keys
