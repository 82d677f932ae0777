"""Trainer callbacks: events for the parent, whole checkpoints only, and guards that fail loudly."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

from components.errors import StageFailed
from components.events import EventWriter

_COMPLETE = "COMPLETE"
_HOUSEKEEPING = {"epoch", "total_flos", "train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second"}


class Report(TrainerCallback):  # type: ignore[misc]
    """Sends the trainer's logs and its progress to the parent."""

    def __init__(self, events: EventWriter) -> None:
        self.events = events

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """One metric event for each number."""
        for name, value in (logs or {}).items():
            if name not in _HOUSEKEEPING and isinstance(value, (int, float)):
                self.events.metric(name, value, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One progress event a step."""
        self.events.progress(state.global_step, state.max_steps)


class WholeCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint when all of it is on disk, so that one torn by a kill is never resumed from."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leaves out the checkpoint of the last step: going on from there would train one step too many."""
        if state.global_step >= state.max_steps:
            control.should_save = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Writes the mark.

        The frozen copy that DPO and GRPO hold the policy to is taken out: a trainer makes it anew, and from a checkpoint that
        has one transformers loads it alone, so that the policy would begin anew with an old optimizer.
        """
        PartialState().wait_for_everyone()  # each process adds its random state
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        shutil.rmtree(folder / "ref", ignore_errors=True)
        (folder / _COMPLETE).write_text("")


def last_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint of a work folder; torn ones are removed."""
    whole: list[tuple[int, Path]] = []
    for folder in work.glob("checkpoint-*"):
        if (folder / _COMPLETE).exists():
            whole.append((int(folder.name.rpartition("-")[2]), folder))
        else:
            shutil.rmtree(folder)
    return str(max(whole)[1]) if whole else None


class FiniteLoss(TrainerCallback):  # type: ignore[misc]
    """Fails the stage at the first loss or gradient norm that isn't a finite number."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Checks what was logged.

        Raises:
            StageFailed: naming value, step and remedy.
        """
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(float(value)):
                raise StageFailed(
                    f"{name} is {value} at step {state.global_step}: training diverged; lower lr (now {args.learning_rate:g})"
                )


class EqualGroups(TrainerCallback):  # type: ignore[misc]
    """Warns when all GRPO groups of a logging window had equal rewards: such a window teaches nothing.

    TRL's own share of them, ``frac_reward_zero_std``, is replaced: it takes the rounding error of eight rewards of 0.7 for a
    difference, and with ``scale_rewards="batch"`` looks at the batch instead of the groups.

    Args:
        rewards: gives the rewards of the latest rollouts, group behind group.
        size: completions of a group.
    """

    def __init__(self, events: EventWriter, rewards: Callable[[], Sequence[float]], size: int) -> None:
        self.events, self._rewards, self._size = events, rewards, size
        self._shares: list[float] = []

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks at the groups of a forward pass."""
        rewards = self._rewards()
        groups = [rewards[i : i + self._size] for i in range(0, len(rewards), self._size)]
        self._shares.append(sum(max(group) - min(group) <= 1e-6 for group in groups) / len(groups))

    on_step_end = on_substep_end

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Says the window's share, and warns if it is all of them."""
        if logs is None or "frac_reward_zero_std" not in logs:
            return
        share = sum(self._shares) / len(self._shares)
        self._shares = []
        logs["frac_reward_zero_std"] = state.log_history[-1]["frac_reward_zero_std"] = share
        if share >= 1.0:
            self.events.warning(
                f"steps up to {state.global_step}: in 100 % of the groups all rewards were equal, so nothing was learnt; "
                "raise temperature or num_generations, or choose prompts that are neither solved always nor never"
            )
