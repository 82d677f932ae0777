"""``lapidar serve``: models behind an OpenAI-compatible server."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from components import local_services
from components.errors import InputError, LapidarError
from components.settings import Settings


def serve(
    models: list[str],
    adapters: list[str],
    host: str,
    port: int,
    memory: str,
    queue: int,
    token_file: Path | None,
    most_bytes: str,
) -> None:
    """Serves until it is stopped.

    Raises:
        InputError: if a model isn't there, or the server would be open to other machines without a token.
        LapidarError: if the port is taken, or one of the models can't be loaded.
    """
    from components.inference.server import config

    settings = Settings()
    settings.prepare()
    found = config.ServerConfig(
        settings,
        tuple(models),
        tuple(adapters),
        host,
        port,
        config.memory(memory, settings),
        queue,
        config.tokens(settings, token_file),
        config.memory(most_bytes, settings),
    )
    _run(found)


def verify(model: str, host: str, port: int) -> int:
    """Compares a running server with a registered version's weights, and adds the result to its evidence; 1 where they differ."""
    from components.inference.local import local_ref
    from components.inference.server.verify import verify as compare
    from components.inference.tokens import server_token
    from components.registry import Registry

    settings = Settings()
    registry = Registry(settings, local_services.address(settings, "mlflow"))
    version = registry.resolve(f"models:/{model.removeprefix('models:/')}")
    name = version.uri.removeprefix("models:/")
    found = compare(f"http://{host}:{port}/v1", name, local_ref(version.uri, settings), server_token(settings))
    registry.supplement(version.uri, {"parity": {"served": found}}, who="lapidar serve --verify")
    tokens = "identical tokens" if found["identical_tokens"] and found["same_prompts"] else "other tokens"
    if found["ok"] and not found["identical_tokens"]:
        tokens += ", as transformers' own answers differ where activations are rounded"
    print(
        f"{version.uri} as served: {tokens}, log-probabilities differ by at most {found['max_logprob_difference']:.2g} "
        f"(limit {found['tolerance']:.2g})"
    )
    return 0 if found["ok"] else 1


def _run(config: object) -> None:
    import uvicorn

    from components.inference.server.app import create_app
    from components.inference.server.config import ServerConfig

    assert isinstance(config, ServerConfig)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    failures: list[LapidarError] = []

    def give_up(error: LapidarError) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(config, give_up)
    place = f"[{config.host}]" if ":" in config.host else config.host
    print(f"serving on http://{place}:{config.port}/v1 ({'with' if config.tokens else 'without'} a token)", file=sys.stderr)
    server = uvicorn.Server(
        uvicorn.Config(
            app, config.host, config.port, log_level="warning", access_log=False, timeout_graceful_shutdown=5, backlog=1024
        )
    )
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server.run()
    if failures:
        named = getattr(failures[0], "code", None) == "model_not_loadable"
        raise InputError(str(failures[0])) if named else failures[0]
    if not server.started:
        raise LapidarError(f"--port {config.port} on {config.host} can't be used: another program listens there, or it isn't ours")
