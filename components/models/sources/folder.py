"""A base model that exists already: checked, given its chat template, copied into the store.

Hub snapshots and registered versions are fetched first (``components.models.resolve``) and then come this way too.
"""

from __future__ import annotations

import shutil
from typing import Literal

from components.artifacts import Inputs
from components.config import MethodConfig
from components.stage import Stage

KEPT = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja", "LICENSE*")


class Config(MethodConfig):
    """Which chat template the model gets; see ``recipe.ModelConfig``."""

    method: Literal["folder"] = "folder"
    chat_template: str = "auto"


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Copies weights, config and tokenizer; writes the tokenizer back with the chosen template.

    Raises:
        InputError: if the folder is no model, holds pickles only, or would run code.
    """
    from components.models.chat import choose_template, template_hash
    from components.models.load import check_folder, load_tokenizer

    source = inputs.models["source"].base
    check_folder(source)
    target = stage.out / "model"
    target.mkdir()
    for file in sorted({f for pattern in KEPT for f in source.glob(pattern)}):
        shutil.copyfile(file, target / file.name)
    tokenizer = load_tokenizer(target)
    choose_template(tokenizer, config.chat_template)
    tokenizer.save_pretrained(str(target))
    size = sum(f.stat().st_size for f in target.glob("*.safetensors"))
    stage.save_metrics({"bytes": size, "chat_template_sha256": template_hash(tokenizer)})
