"""The model that a stage trains: loaded, given its adapter, trained, checked for change, saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components import methods
from components.artifacts import ModelRef
from components.errors import InputError, StageFailed
from components.models.load import keep_weight_layout, load_model
from components.stage import Released, Stage
from components.training.arguments import FineTuneConfig
from components.training.callbacks import FiniteLoss, Report, WholeCheckpoints, last_checkpoint


def load_policy(config: FineTuneConfig, ref: ModelRef, stage: Stage) -> tuple[Any, Any]:
    """(trainable model, tokenizer): the model's own adapter goes on, a new one is added, or all weights train.

    Raises:
        InputError: if a new adapter is asked for on a model that has one, or full training of a quantized one.
    """
    if ref.adapter is not None and config.adapter is not None:
        raise InputError(f"{config.method}.adapter: the model has an adapter already; leave it out to go on with that one")
    model, tokenizer = load_model(ref, stage.device, trainable=True)
    if ref.adapter is None:
        method = config.adapter.method if config.adapter is not None else "full"
        adapter = config.adapter or methods.load("adapter", "full").Config()
        model = methods.load("adapter", method).apply(adapter, model)
    keep_weight_layout(model)
    _keep_adapter_precise(model)
    return model, tokenizer


def _keep_adapter_precise(model: Any) -> None:
    """Hides from TRL that the base is quantized: it would round the adapter to bfloat16, and so train it.

    Small updates would be lost, a later stage wouldn't begin where the one before it ended, and a resumed training, whose
    adapter comes back in float32, wouldn't end with the weights of an uninterrupted one.
    """
    from peft import PeftModel

    if isinstance(model, PeftModel):
        model.is_loaded_in_4bit = model.is_loaded_in_8bit = False  # of the wrapper: the base keeps its own


def fit(trainer: Any, stage: Stage, *callbacks: Any) -> Any:
    """Trains from the last whole checkpoint on, with reports and guards, and checks that training changed something.

    Returns:
        The trained model.

    Raises:
        StageFailed: if no weight changed, or several processes ended with different ones.
        Released: in all processes but the first.
    """
    from accelerate.utils import gather_object

    for callback in (Report(stage.events), FiniteLoss(), *callbacks, WholeCheckpoints()):
        trainer.add_callback(callback)
    before = _fingerprint(trainer.model)
    with trainer.accelerator.main_process_first():
        checkpoint = last_checkpoint(stage.work)
    trainer.train(resume_from_checkpoint=checkpoint)
    after = _fingerprint(trainer.model)
    if len(set(gather_object([after]))) > 1:
        raise StageFailed("the processes that trained together ended with different weights; train with processes=1 and report it")
    if not trainer.accelerator.is_main_process:
        raise Released
    if after == before:
        raise StageFailed("training changed no weight: no gradient reached the trainable parameters; check target_modules and lr")
    return trainer.accelerator.unwrap_model(trainer.model)


def save_policy(model: Any, tokenizer: Any, stage: Stage) -> None:
    """Writes ``out/adapter`` for an adapted model and ``out/model`` for one that was trained whole.

    Raises:
        StageFailed: if a weight isn't finite.
    """
    from peft import PeftModel

    _check_finite(model)
    if isinstance(model, PeftModel):
        folder = stage.out / "adapter"
        model.save_pretrained(str(folder), selected_adapters=["default"], safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)
        _neutral_base(folder / "adapter_config.json")
    else:
        save_full(model, tokenizer, stage.out / "model")


def save_full(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a whole model with its tokenizer and chat template."""
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _fingerprint(model: Any) -> str:
    """Digest of all trainable weights."""
    import hashlib

    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            digest.update(name.encode())
            digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check_finite(model: Any) -> None:
    for name, weight in model.named_parameters():
        if weight.requires_grad and not bool(weight.isfinite().all()):
            raise StageFailed(f"weight {name} isn't finite after training; lower lr")


def _neutral_base(file: Path) -> None:
    """Takes the base's path out of the adapter's config: it differs between homes, the weights don't."""
    config = json.loads(file.read_bytes())
    config["base_model_name_or_path"] = None
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
