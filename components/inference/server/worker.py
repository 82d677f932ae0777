"""``python -m components.inference.server.worker FD``: the process of one loaded model.

A thread reads the pipe and renders prompts; the main thread decodes. Each adapter has a decoder of its own over the one base,
and they take turns step by step. When the pipe closes, the server is gone, and so is this process.
"""

from __future__ import annotations

import copy
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from components.errors import LapidarError
from components.inference.server.messages import Begun, Cancel, Failed, Job, Load, Look, Ready, Said, Seen, Setup

logger = logging.getLogger(__name__)
_LOAD_SECONDS = 1.0


def main() -> None:
    """Body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; it closes the pipe
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    pipe = Connection(int(sys.argv[1]))
    setup: Setup = pipe.recv()
    try:
        worker = Worker(pipe, setup)
    except Exception as error:
        if not isinstance(error, LapidarError):
            logger.exception("loading %s failed", setup.folder)
        pipe.send(Ready(error=str(error) if isinstance(error, LapidarError) else f"{type(error).__name__}: {error}"))
        return
    worker.run()


class Worker:
    """A loaded model and what it is asked."""

    def __init__(self, pipe: Connection, setup: Setup) -> None:
        import torch

        from components.inference.server.prepare import Preparer
        from components.inference.server.streaming import Vocabulary

        if setup.threads is not None:
            torch.set_num_threads(setup.threads)
        self._pipe, self._device = pipe, setup.device
        self.model, self.tokenizer = _load(setup)
        self._engines: dict[str | None, Any] = {}
        self._decoders: dict[str | None, Any] = {}
        self._adapted = bool(setup.adapters)
        self._active: str | None = next(iter(setup.adapters), None)
        self._answers: dict[tuple[str | None, int], Any] = {}
        self._requests: dict[int, tuple[str | None, int]] = {}
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._gone: set[int] = set()
        self._vocabulary = Vocabulary(self.tokenizer)
        self._engine(None)
        context = self._engines[None].context
        size = int(self.model.get_input_embeddings().weight.shape[0])
        self._preparer = Preparer(copy.deepcopy(self.tokenizer), context, size)
        self._told = 0.0
        pipe.send(Ready(context))

    def run(self) -> None:
        """Serves until the pipe closes."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            said = self._take()
            for adapter, decoder in list(self._decoders.items()):
                if not decoder.idle:
                    said += self._step(adapter, decoder)
            now = time.monotonic()
            if said and now - self._told > _LOAD_SECONDS:
                said.append(Load(_nbytes(self._device)))
                self._told = now
            if said:
                self._send(said)

    def _listen(self) -> None:
        """Reads the pipe and renders prompts, so that a long one keeps no answer waiting."""
        while True:
            try:
                asked = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(asked, Job):
                asked = self._prepared(asked)
            elif isinstance(asked, Cancel):
                self._gone.add(asked.job)
            self._inbox.put(asked)

    def _prepared(self, job: Job) -> Any:
        try:
            return self._preparer.prepare(job)
        except LapidarError as error:
            return Failed(job.id, 400, str(error))
        except Exception as error:
            logger.exception("a prompt couldn't be rendered")
            return Failed(job.id, 400, f"the prompt can't be rendered for this model ({type(error).__name__}: {str(error)[:200]})")

    def _take(self) -> list[Said]:
        """What has come in; waits for it while there is nothing to decode."""
        said: list[Said] = []
        waits = all(decoder.idle for decoder in self._decoders.values())
        while True:
            try:
                asked = self._inbox.get(block=waits)
            except Empty:
                return said
            waits = False
            said += self._do(asked)

    def _do(self, asked: Any) -> list[Said]:
        if isinstance(asked, Failed):
            self._gone.discard(asked.job)
            return [asked]
        if isinstance(asked, Cancel):
            self._cancel(asked.job)
            return []
        if isinstance(asked, Look):
            return [self._look(asked)]
        if asked.job.id in self._gone:
            return []
        return self._begin(asked)

    def _begin(self, prepared: Any) -> list[Said]:
        from components.inference.server.answers import Answers

        job = prepared.job
        decoder = self._decoder(job.adapter)
        try:
            request = decoder.submit(
                prepared.ids, prepared.sampling, 0, logprobs=job.logprobs, constraint=prepared.constraint, kv=prepared.kv
            )
        except LapidarError as error:
            return [Failed(job.id, 400, str(error))]
        key = (job.adapter, request)
        self._answers[key] = Answers(prepared, self.tokenizer, self._vocabulary, self._engines[job.adapter].end_ids)
        self._requests[job.id] = key
        return [Begun(job.id, prepared.ids, asdict(prepared.use), time.monotonic())]

    def _cancel(self, job: int) -> None:
        self._gone.discard(job)
        key = self._requests.pop(job, None)
        if key is not None and self._answers.pop(key, None) is not None:
            self._decoders[key[0]].cancel(key[1])

    def _step(self, adapter: str | None, decoder: Any) -> list[Said]:
        self._activate(adapter)
        said: list[Said] = []
        try:
            for event in decoder.step():
                answers = self._answers.get((adapter, event.request))
                if answers is None:
                    continue
                found = answers.take(event)
                said += found
                if found and not answers.left:
                    self._forget(answers.job.id)
        except Exception as error:
            logger.exception("decoding failed")
            return said + self._give_up(adapter, error)
        return said

    def _forget(self, job: int) -> None:
        self._answers.pop(self._requests.pop(job), None)

    def _give_up(self, adapter: str | None, error: Exception) -> list[Said]:
        """Fails what one decoder holds, and makes another one for what comes next."""
        jobs = [answers.job.id for (name, _), answers in self._answers.items() if name == adapter]
        for job in jobs:
            self._forget(job)
        self._decoders.pop(adapter)
        status, why = (400, str(error)) if isinstance(error, LapidarError) else (500, f"{type(error).__name__}: {str(error)[:200]}")
        return [Failed(job, status, f"the answer can't be computed ({why})") for job in jobs]

    def _engine(self, adapter: str | None) -> Any:
        from components.inference.engine import Engine

        if adapter not in self._engines:
            self._engines[adapter] = Engine(self.model, self.tokenizer, self._device)
        return self._engines[adapter]

    def _decoder(self, adapter: str | None) -> Any:
        if adapter not in self._decoders:
            self._decoders[adapter] = self._engine(adapter).decoder(remember=True)
        return self._decoders[adapter]

    def _activate(self, adapter: str | None) -> None:
        if not self._adapted or adapter == self._active:
            return
        if adapter is None:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(adapter)
        self._active = adapter

    def _look(self, look: Look) -> Said:
        from components.inference.server.looking import look_at

        self._activate(look.adapter)
        try:
            return Seen(look.id, look_at(look, self.model, self.tokenizer))
        except LapidarError as error:
            return Failed(look.id, 400, str(error))
        except Exception as error:
            logger.exception("a view failed")
            return Failed(look.id, 500, f"the view failed ({type(error).__name__}: {str(error)[:200]})")

    def _send(self, said: list[Said]) -> None:
        try:
            self._pipe.send(said)
        except OSError:
            os._exit(0)


def _load(setup: Setup) -> tuple[Any, Any]:
    """(model, tokenizer), with all adapters over the one base."""
    from components.artifacts import ModelRef
    from components.inference.dequantize import dequantize
    from components.models.chat import choose_template
    from components.models.load import load_model

    model, tokenizer = load_model(ModelRef(Path(setup.folder), None, ""), setup.device)
    if tokenizer.chat_template is None:
        choose_template(tokenizer, "auto")
    if setup.device == "cpu":
        dequantize(model)
    if setup.adapters:
        from peft import PeftModel

        (name, folder), *others = setup.adapters.items()
        model = PeftModel.from_pretrained(model, folder, adapter_name=name, torch_device=setup.device)
        for name, folder in others:
            model.load_adapter(folder, adapter_name=name, torch_device=setup.device)
        model.set_adapter(next(iter(setup.adapters)))
        model.requires_grad_(False)
    return model.eval(), tokenizer


def _nbytes(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.memory_reserved())
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
