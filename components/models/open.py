"""Opens a model that a person names: a registered version, a folder, a pinned hub model; with an adapter or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts import ModelRef
from components.errors import InputError
from components.models.load import load_model
from components.settings import Settings, device_class

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def open_model(source: str, settings: Settings, adapter: Path | None = None, unmerged: bool = False) -> tuple[Any, Any]:
    """(model, tokenizer) in evaluation mode.

    Args:
        source: ``models:/name/version``, ``models:/name@alias`` (its merged weights), or a folder.
        adapter: folder of an adapter to put on top.
        unmerged: for a registered version that was trained as an adapter, base and adapter apart: the base is the merged
            weights less the adapter's part, which is what the adapter was trained on up to rounding.

    Raises:
        InputError: if there is no such model, or base and adapter can't be told apart.
    """
    from components.models.resolve import kind, resolve
    from components.recipe import ModelConfig

    device = device_class(settings)
    folder = Path(source).expanduser()
    if adapter is None and all((folder / name).is_file() for name in ADAPTER):
        raise InputError(f"{source} is an adapter; name its base model in its place, and add --adapter {source}")
    if adapter is not None:
        if missing := [name for name in ADAPTER if not (adapter / name).is_file()]:
            raise InputError(f"{adapter} is no adapter: it has no {missing[0]}")
        adapter = adapter.absolute()
    ref = resolve(ModelConfig(source=source), settings)
    if ref is None:
        raise InputError(f"{source!r} is trained by a recipe; name a folder or a version, `lapidar models list` has them")
    if unmerged and adapter is None and kind(source) == "registry":
        return _unmerge(ref, _adapter_of(source, settings), device, source)
    return load_model(ModelRef(ref.base, adapter, ref.digest), device)


def _adapter_of(source: str, settings: Settings) -> Path:
    """The adapter of a version; each digest is downloaded once into the home."""
    from components.registry import Registry

    registry = Registry(settings)
    version = registry.resolve(source)
    target = settings.root / "registry" / f"{version.digest[:16]}-adapter"
    if not (target / "adapter").is_dir():
        registry.download(version.uri, target, ("adapter",))
    return target / "adapter"


def _unmerge(merged: ModelRef, adapter: Path, device: str, source: str) -> tuple[Any, Any]:
    """Puts an adapter on weights that hold it already, and takes its part out of them again."""
    from peft import PeftConfig
    from peft.tuners.lora import LoraLayer

    config = PeftConfig.from_pretrained(str(adapter))
    split = str(getattr(config, "init_lora_weights", "")).startswith("pissa")
    if getattr(config, "use_dora", False) or split:
        what = "PiSSA" if split else "DoRA"
        raise InputError(f"{source} was trained with {what}, whose base can't be told from the merged weights; give BASE --adapter")
    model, tokenizer = load_model(ModelRef(merged.base, adapter, merged.digest), device)
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.merged_adapters = [model.active_adapter]
            layer.unmerge()
    return model, tokenizer
