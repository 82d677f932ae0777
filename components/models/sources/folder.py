"""A base model that exists already: checked, given its chat template, copied into the store.

Hub snapshots and registered versions are fetched first (``components.models.resolve``) and then come this way too.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from components.artifacts import Inputs
from components.config import MethodConfig
from components.errors import InputError
from components.events import EventWriter
from components.stage import Stage

KEPT = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja", "LICEN[SC]E*")


class Config(MethodConfig):
    """Which chat template and end token the model gets; see ``recipe.ModelConfig``."""

    method: Literal["folder"] = "folder"
    chat_template: str = "auto"
    eos_token: str | None = None


def run(config: Config, inputs: Inputs, stage: Stage) -> None:
    """Copies weights, config and tokenizer; writes the tokenizer back with the chosen template.

    Raises:
        InputError: if the folder is no model, holds pickles only, or would run code.
    """
    from components.models.chat import choose_template, template_hash
    from components.models.check import check_folder
    from components.models.licence import licence
    from components.models.load import load_tokenizer

    source = inputs.models["source"].base
    check_folder(source)
    target = stage.out / "model"
    target.mkdir()
    for file in sorted({f for pattern in KEPT for f in source.glob(pattern)}):
        shutil.copyfile(file, target / file.name)
    tokenizer = load_tokenizer(target)
    choose_template(tokenizer, config.chat_template, config.eos_token)
    tokenizer.save_pretrained(str(target))
    _settle_generation(target, tokenizer.eos_token_id, stage.events)
    if same := indistinct(target, tokenizer.eos_token_id):
        stage.events.warning(
            f"the model can't tell its end token {tokenizer.eos_token!r} from {same} other tokens (equal weights: it never saw "
            "them), so an adapter can't teach it to end answers; set model.eos_token to a token that it knows"
        )
    if (end := _other_end(target, tokenizer)) is not None:
        stage.events.warning(
            f"the chat template ends answers with {end!r}, and nothing ends a generation but {tokenizer.eos_token!r}: "
            f"trained answers would run on to the token limit; set model.eos_token, if {end!r} is what ends them"
        )
    size = sum(f.stat().st_size for f in target.glob("*.safetensors"))
    stage.save_metrics({"bytes": size, "chat_template_sha256": template_hash(tokenizer), "licence": licence(source)})


def indistinct(folder: Path, token: int) -> int:
    """How many other tokens have the output weights of a token, so that no hidden state can prefer it to them."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            found |= dict.fromkeys(weights.keys(), file)
    heads = [name for name in found if name.endswith("lm_head.weight")] or [n for n in found if n.endswith("embed_tokens.weight")]
    if not heads:
        return 0
    with safe_open(found[heads[0]], "pt") as weights:
        rows = weights.get_tensor(heads[0]).float()
    return int(((rows - rows[token]).norm(dim=1) <= 1e-3 * rows[token].norm()).sum()) - 1


def _other_end(folder: Path, tokenizer: Any) -> str | None:
    """The text that the template puts behind an answer, if none of it is a token that ends a generation."""
    from components.models.chat import prompt_ids, rendered_ids

    asked, answered = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    try:
        whole = rendered_ids(tokenizer, [asked, answered])[len(prompt_ids(tokenizer, [asked])) :]
    except InputError:  # whoever needs such a conversation is told so
        return None
    ends = json.loads((folder / "generation_config.json").read_bytes())["eos_token_id"]
    if set(whole) & set(ends if isinstance(ends, list) else [ends]):
        return None
    return str(tokenizer.decode(whole)).partition("Hello")[2].strip() or "nothing"


def _settle_generation(folder: Path, token: int, events: EventWriter) -> None:
    """Puts the end token first among those that end a generation; servers read them from this file.

    Raises:
        InputError: if the file's other settings contradict one another, so that no model with them could be saved.
    """
    file = folder / "generation_config.json"
    settings = json.loads(file.read_bytes()) if file.exists() else {}
    known = settings.get("eos_token_id")
    others = known if isinstance(known, list) else [] if known is None else [known]
    ends = list(dict.fromkeys([token, *others]))
    settings["eos_token_id"] = ends if len(ends) > 1 else token
    if _contradiction(settings) and not _contradiction(settings | {"do_sample": True}):
        settings["do_sample"] = True
        events.warning("generation_config.json says how to sample but not do_sample=true, which transformers refuses to save: set")
    if said := _contradiction(settings):
        raise InputError(f"generation_config.json contradicts itself: {said}; mend those settings, or take the file away")
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _contradiction(settings: dict[str, Any]) -> str | None:
    """What transformers says against settings of a generation, before it saves them."""
    from transformers import GenerationConfig

    try:
        GenerationConfig.from_dict(settings).validate(strict=True)
    except (ValueError, TypeError) as error:
        return " ".join(str(error).split())[:300]
    return None
