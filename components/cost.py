"""What a stage costs, estimated from the model's shape: memory by what fills it, bytes on disk, seconds.

Activations follow Korthikanti et al. 2022 (arXiv 2205.05198, §4.1) counted for a Llama block: what autograd keeps for the
backward pass of one token in one layer. All figures are estimates, within a factor of about two.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import MethodConfig
from components.graph import Graph, Node
from components.recipe import Recipe
from components.training.arguments import TrainConfig, planned_steps

LIBRARIES = 600 * 2**20
"""Resident memory of a stage's process before it has loaded a model."""
_BITS = {"nf4": 4.127, "fp4": 4.127, "int8": 8.05, "mixed": 4.5, "gptq": 4.2, "w8a8": 8.05, "fp8": 8.05}
_CPU_FLOPS = 5.5e10
"""Useful floating-point operations a second and core, from trained tokens a second of models of 0.75 to 4.4 M parameters."""
_CUDA_FLOPS = 3e13
_GENERATION = 0.2
"""Share of that speed that is left where tokens are generated one by one."""
_START_SECONDS = 1.0
SIZES = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "vocab_size")
"""What a ``config.json`` must say of a decoder-only model."""
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


@dataclass(frozen=True)
class Shape:
    """Size of a decoder-only model.

    Attributes:
        parameters: all weights.
        linear: weights of the linear layers inside the blocks, which quantizers and adapters work on.
        said: where the figures are from, for people.
    """

    parameters: int
    linear: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_width: int
    vocab: int
    said: str

    @property
    def kept(self) -> int:
        """Numbers that autograd keeps for one token of one layer."""
        return 8 * self.hidden + 4 * self.kv_width + 4 * self.intermediate

    def lora(self, rank: int, targets: str | list[str]) -> int:
        """Weights of an adapter; a regular expression counts as all layers."""
        h, kv, i = self.hidden, self.kv_width, self.intermediate
        sizes = {"q_proj": 2 * h, "k_proj": h + kv, "v_proj": h + kv, "o_proj": 2 * h}
        sizes |= {"gate_proj": h + i, "up_proj": h + i, "down_proj": h + i}
        chosen = [sizes[t] for t in targets if t in sizes] if isinstance(targets, list) else list(sizes.values())
        return rank * self.layers * sum(chosen)


@dataclass(frozen=True)
class Memory:
    """Bytes at the fullest moment of a stage."""

    weights: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """With the libraries."""
        return self.weights + self.optimizer + self.activations + LIBRARIES


def shape_of_config(config: Mapping[str, Any], parameters: int | None, said: str) -> Shape | None:
    """The shape that a ``config.json`` describes; None if it doesn't say all of ``SIZES``."""
    config = config.get("text_config", config)
    if _unsaid(config):
        return None
    hidden, layers, inner, heads, vocab = (int(config[name]) for name in SIZES)
    head = int(config.get("head_dim") or hidden // heads)
    kv = int(config.get("num_key_value_heads") or heads) * head
    linear = layers * (2 * hidden * heads * head + 2 * hidden * kv + 3 * hidden * inner)
    embeddings = vocab * hidden * (1 if config.get("tie_word_embeddings") else 2)
    counted = parameters or linear + embeddings + (2 * layers + 1) * hidden
    return Shape(counted, linear, layers, hidden, inner, heads, kv, vocab, said)


def shape_of_folder(folder: Path) -> Shape | None:
    """The shape of a model in Hugging Face layout; its weights are counted from the safetensors' headers."""
    config = json.loads((folder / "config.json").read_bytes())
    counted = sum(map(math.prod, _shapes(folder).values()))
    return shape_of_config(config, counted, f"counted in {folder}")


def unknown(folder: Path) -> str | None:
    """Why nothing can be said of what a model in Hugging Face layout costs; None where its shape is known.

    A shape of a model that can't be loaded, or of a part of one, would give figures of another model.
    """
    file = folder / "config.json"
    config = json.loads(file.read_bytes())
    kind, sizes = config.get("model_type"), config.get("text_config", config)
    if not _is_known(kind):
        return f"{file} says model_type={kind!r}, which the installed transformers doesn't know: a run couldn't load it"
    if unsaid := _unsaid(sizes):
        return f"{file} (model_type={kind!r}) doesn't say {', '.join(unsaid)}"
    there = {int(found[1]) for name in _shapes(folder) if (found := _LAYER.search(name))}
    if there and (lacking := sorted({*range(int(sizes["num_hidden_layers"]))} - there)):
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        return (
            f"{folder} lacks weights of layer {lacking[0]}{more}: its config.json says {sizes['num_hidden_layers']}; copy it again"
        )
    return None


def shape_of_pretrain(config: Any) -> Shape:
    """The shape of a base that a recipe trains."""
    described = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": True,
    }
    shape = shape_of_config(described, None, "from model.pretrain")
    assert shape is not None  # all fields are given
    return shape


def shape_of_name(name: str) -> Shape | None:
    """A guess for a model that isn't here, from a name such as ``Qwen2.5-0.5B``: a Llama of that many weights."""
    match = re.search(r"(\d+(?:\.\d+)?)\s?([bBmM])(?![a-zA-Z0-9])", name.rpartition("/")[2])
    if match is None:
        return None
    parameters = int(float(match[1]) * (1e9 if match[2] in "bB" else 1e6))
    hidden = max(64, round((parameters / 1000) ** 0.5 / 64) * 64)
    layers = max(1, round(0.7 * parameters / (12 * hidden**2)))
    return Shape(
        parameters, round(0.7 * parameters), layers, hidden, 4 * hidden, hidden // 64, hidden, 130_000, "guessed from its name"
    )


def memory(recipe: Recipe, node: Node, shape: Shape, device: str, longest: Mapping[str, int]) -> Memory:
    """Memory of one stage.

    Args:
        recipe: says what is quantized and adapted before.
        node: the stage.
        shape: the model's size.
        device: ``cpu`` or ``cuda``.
        longest: tokens of a split's longest row, where it was measured; else the recipe's limit counts.
    """
    wide = 4 if device == "cpu" else 2
    whole = wide * shape.parameters
    config: Any = node.config
    if node.section in ("sft", "align", "model") and isinstance(config, TrainConfig):
        weights, optimizer = _trained(recipe, node, shape, wide)
        copies = config.processes if device == "cpu" else 1  # elsewhere each process has a device, and memory, of its own
        return Memory(copies * weights, copies * optimizer, copies * _activations(node, shape, device, longest))
    if node.section == "quantize":
        return Memory(whole + quantized(shape, node.method, wide), 0, 64 * 256 * shape.vocab * 4)
    if node.section == "search":  # every layer stands beside its rounded copy while a few LoRA steps are taken
        trained = shape.lora(max(config.ranks), "all-linear")
        length = min(config.max_length, 256)
        return Memory(2 * whole, 16 * trained, config.batch_size * length * (4 * shape.layers * shape.kept + 12 * shape.vocab))
    if node.section == "export":
        return Memory(3 * whole, 0, 64 * shape.hidden * 2048)
    if node.section in ("merge", "verify"):
        return Memory(2 * whole, 0, 0)
    if node.section == "evaluate":
        return Memory(whole, 0, config.batch_tokens * shape.layers * 2 * shape.kv_width * wide)
    return Memory(0, 0, 0)


def disk(recipe: Recipe, node: Node, shape: Shape, device: str) -> tuple[int, int]:
    """(bytes of a stage's sealed output, bytes of its checkpoints while it runs)."""
    wide = 4 if device == "cpu" else 2
    whole = wide * shape.parameters
    if node.section in ("sft", "align", "model") and isinstance(node.config, TrainConfig):
        trained = _trainable(recipe, node, shape)
        return 4 * trained, 2 * 12 * trained
    if node.section in ("quantize", "export"):
        return quantized(shape, node.method, wide), 0
    return (whole if node.section in ("model", "merge") else 0), 0


def seconds(recipe: Recipe, node: Node, shape: Shape, device: str, rows: Mapping[str, int], threads: int | None) -> float | None:
    """Time of a stage that never ran, from floating-point operations; None where its rows aren't known."""
    done = work(node, node.config, rows)
    if done is None:
        return None
    config: Any = node.config
    speed = _CUDA_FLOPS * getattr(config, "processes", 1) if device == "cuda" else _CPU_FLOPS * (threads or os.cpu_count() or 1)
    forward = 2.0 * shape.parameters
    if node.method == "grpo":
        length = config.max_prompt_length + config.max_completion_length
        flops = done * (3 * forward * length + forward * config.max_completion_length / _GENERATION)
    elif isinstance(config, TrainConfig):
        length = config.block if node.method == "pretrain" else min(config.max_length, 256)  # type: ignore[attr-defined]
        flops = done * 3 * forward * length * (1 if node.section != "align" else 3)
    elif node.section == "search":
        trials = config.genetic + config.bayesian + 2 * config.seeds + 1
        flops = trials * 3 * forward * min(config.max_length, 256) * (config.steps * config.batch_size + config.rows)
    elif node.section == "evaluate":
        flops = done * forward * 128 / _GENERATION
    else:
        flops = 0 if node.section == "model" else 300 * 256 * forward
    return float(_START_SECONDS + flops / speed)


def work(node: Node, config: Any, rows: Mapping[str, int]) -> float | None:
    """What a stage's time grows with: rows trained on, rows evaluated, else 1; None where the number of rows isn't known."""
    if isinstance(config, TrainConfig):
        if config.max_steps is None and not rows.keys() & set(node.splits):
            return None
        answers = {"preference": 2} if node.method == "kto" else {}  # it takes a pair's answers one by one
        total = sum(rows.get(split, 0) * answers.get(split, config.uses) for split in (node.splits if answers else node.splits[:1]))
        return float(planned_steps(config, total) * config.processes * config.batch_size * config.gradient_accumulation)
    if node.section == "evaluate":
        return float(rows["heldout"]) if "heldout" in rows else None
    return 1.0


def quantized(shape: Shape, method: str, wide: int) -> int:
    """Bytes of a quantized model: its blocks packed, embeddings and norms as they are."""
    return round(shape.linear * _BITS.get(method, 8.0 * wide) / 8 + (shape.parameters - shape.linear) * wide)


def needs_accelerator(shape: Shape) -> bool:
    """Whether training on a CPU would take days rather than minutes."""
    return shape.parameters > 100_000_000


def _trainable(recipe: Recipe, node: Node, shape: Shape) -> int:
    """Weights that get a gradient: an adapter's, also one that an earlier stage added, or all."""
    if node.section == "model":
        return shape.parameters
    for config in [node.config, *reversed(_before(recipe, node))]:
        adapter: MethodConfig | None = getattr(config, "adapter", None)
        if adapter is not None:
            if adapter.method == "full":
                return shape.parameters
            return shape.lora(adapter.r, adapter.target_modules)  # type: ignore[attr-defined]
    return shape.parameters


def _before(recipe: Recipe, node: Node) -> list[Any]:
    """Training sections of a recipe before a stage's own."""
    found: list[Any] = []
    for config in [recipe.sft, *recipe.align]:
        if config is node.config:
            break
        if config is not None and getattr(config, "method", "") != "reward":
            found.append(config)
    return found


def _trained(recipe: Recipe, node: Node, shape: Shape, wide: int) -> tuple[int, int]:
    """(bytes of all weights in memory, bytes of gradients and Adam's two moments)."""
    trained = _trainable(recipe, node, shape)
    if trained == shape.parameters:
        weights = 4 * shape.parameters
        reference = weights if _refers(node) else 0
        return weights + reference, 12 * trained
    packed = recipe.quantize is not None and node.method != "reward"
    base = quantized(shape, recipe.quantize.method, wide) if packed and recipe.quantize is not None else wide * shape.parameters
    copies = 2 if _refers(node) else 1
    return base + copies * 4 * trained, 12 * trained


def _refers(node: Node) -> bool:
    return node.method in ("dpo", "kto") or (node.method == "grpo" and bool(node.config.beta))  # type: ignore[attr-defined]


def _activations(node: Node, shape: Shape, device: str, longest: Mapping[str, int]) -> int:
    config: Any = node.config
    if node.method == "pretrain":
        length = scored = config.block
    elif node.method == "grpo":
        scored, length = config.max_completion_length, config.max_prompt_length + config.max_completion_length
    else:
        length = scored = min(config.max_length, longest.get(node.splits[0], config.max_length))
    sequences = config.batch_size * (2 if node.method in ("dpo", "reward") else 1)
    # on a GPU, gradient checkpointing keeps each layer's input and recomputes one layer at a time
    blocks = 4 * shape.layers * shape.kept if device == "cpu" else 2 * (shape.layers * shape.hidden + shape.kept)
    logits = 0 if node.method == "reward" else 3 * 4 * shape.vocab * scored
    return int(sequences * (length * blocks + logits))


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Shapes of the weights in a folder by their names, from its files' headers (an 8-byte length, then JSON)."""
    found: dict[str, list[int]] = {}
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
        found |= {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    return found


def _is_known(model_type: Any) -> bool:
    """Whether transformers can load such models; the shorter list first, which doesn't import torch."""
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    if model_type in CONFIG_MAPPING_NAMES:
        return True
    from transformers.models.auto import configuration_auto

    return model_type in configuration_auto.CONFIG_MAPPING_NAMES


def _unsaid(config: Mapping[str, Any]) -> list[str]:
    """Those of ``SIZES`` that a config doesn't give as a number above 0."""
    return [name for name in SIZES if not isinstance(config.get(name), int) or config[name] < 1]


def final_bytes(recipe: Recipe, graph: Graph, shape: Shape, device: str) -> int:
    """Bytes of what a run uploads to the registry: adapter, merged and exported weights."""
    names = [graph.final, "merge", "export"]
    return sum(disk(recipe, node, shape, device)[0] for node in graph.nodes if node.name in names)
