"""What the warm parent imports before it forks children, and how a child sets itself up."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_DISABLED="true")  # read at import
# bitsandbytes asks for a package with faster CPU kernels, which would be downloaded; nothing here uses them.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

import accelerate  # noqa: E402, F401
import datasets  # noqa: E402
import peft  # noqa: E402, F401
import torch  # noqa: E402
import transformers  # noqa: E402
from tqdm import tqdm  # noqa: E402
from trl import DPOTrainer, GRPOTrainer, SFTTrainer  # noqa: E402, F401


def prepare_child(threads: int | None, seed: int) -> None:
    """Threads, seeds, and no way to the network: a stage works on what it was given."""
    tqdm.set_lock(threading.RLock())  # its own lock is a semaphore that every child would leave behind
    datasets.disable_progress_bars()
    datasets.disable_caching()
    sys.addaudithook(_refuse_network)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    transformers.set_seed(seed)


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            raise PermissionError(f"a stage may not talk to the network (tried {address[0]}); fetch before the run")
