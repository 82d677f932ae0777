"""The judge that a command names: a built-in rule, an endpoint, a reward model, or a model on this machine."""

from __future__ import annotations

from dataclasses import replace

from components.errors import InputError
from components.inference.endpoint import connect, is_endpoint
from components.judges import prompts
from components.judges.asking import Judge, family
from components.judges.baselines import BASELINES, Baseline
from components.judges.by_chat import ChatJudge
from components.judges.by_reward import RewardJudge, is_reward_model
from components.judges.prompts import Mode
from components.settings import Settings, device_class


def judge(
    spec: str,
    settings: Settings,
    mode: Mode = "pairwise",
    *,
    prompt: str | None = None,
    criteria: str | None = None,
    maker: str | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
    timeout: float = 120,
    concurrency: int = 8,
) -> Judge:
    """The judge of a name.

    Args:
        spec: ``first``, ``longest``, ``shortest``, ``random``; ``URL#model``; a folder or ``models:/name/version``.
        prompt: id of a prompt; the newest of the mode by default.
        criteria: what is judged by, in place of the prompt's own.
        maker: the judge's family, where its name doesn't tell.

    Raises:
        InputError: if there is no such judge or prompt, or the prompt is for the other mode.
    """
    template = prompts.load(prompt or prompts.LATEST[mode], criteria)
    if template.mode != mode:
        raise InputError(f"judge prompt {template.id} is for --mode {template.mode}, not {mode}")
    made_by = maker or family(spec)
    if spec in BASELINES:
        return Baseline(spec)
    if is_endpoint(spec):
        return ChatJudge(connect(spec, settings, timeout), "endpoint", template, made_by, max_tokens, seed, concurrency)
    from components.inference.local import LocalModel, local_ref

    ref = local_ref(spec, settings)
    if is_reward_model(ref.base):
        found = RewardJudge(ref, spec, device_class(settings))
        found.identity = replace(found.identity, family=made_by)
        return found
    return ChatJudge(LocalModel(ref, spec, device_class(settings)), "local", template, made_by, max_tokens, seed)
