"""What the warm parent imports before it forks children, and how a child sets itself up."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from components.errors import InputError
from components.importing import uncollected

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", WANDB_DISABLED="true")  # read at import
# bitsandbytes asks for a package with faster CPU kernels, which would be downloaded; nothing here uses them.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

with uncollected():
    import accelerate
    import datasets
    import peft  # noqa: F401
    import torch
    import transformers
    from tqdm import tqdm
    from trl import DPOTrainer, GRPOTrainer, SFTTrainer  # noqa: F401

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def prepare_child(threads: int, seed: int) -> None:
    """Threads, seeds, and no way to the network: a stage works on what it was given."""
    tqdm.set_lock(threading.RLock())  # its own lock is a semaphore that every child would leave behind
    datasets.disable_progress_bars()
    datasets.disable_caching()
    sys.addaudithook(_refuse_network)
    torch.set_num_threads(threads)
    transformers.set_seed(seed)


def settle() -> None:
    """Takes what was imported out of garbage collection and keeps freed memory, for a process that trains and then ends.

    Collections would go through a million objects of the libraries and, since their counters are written, copy every page
    that is shared with the warm parent. glibc would return each large tensor to the kernel and fault it in again.
    """
    gc.freeze()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def join(meeting: Path, process: int, processes: int, device: str) -> None:
    """Makes this process one of several that train together; accelerate, and so every trainer, finds the others through torch.

    Args:
        meeting: a file that isn't there yet, where the processes find each other: no port that another program may take.
        process: number of this process, from 0.
        processes: how many there are.
        device: ``cpu`` or ``cuda``.

    Raises:
        InputError: if there are fewer GPUs than processes.
    """
    os.environ |= {
        "RANK": str(process),
        "LOCAL_RANK": str(process),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # accelerate sets its own number where this isn't given
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if device == "cpu":
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"  # it would be cpu:0, cpu:1, …, and torch loads no checkpoint onto these
    if device == "cuda":
        if processes > torch.cuda.device_count():
            raise InputError(f"processes={processes}, but there are {torch.cuda.device_count()} GPUs; lower it")
        torch.cuda.set_device(process)
    torch.distributed.init_process_group(
        "gloo" if device == "cpu" else "nccl", init_method=f"file://{meeting}", rank=process, world_size=processes
    )
    accelerate.PartialState(cpu=device == "cpu")


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            raise PermissionError(f"a stage may not talk to the network (tried {address[0]}); fetch before the run")
