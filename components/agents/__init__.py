"""Models that use tools: ``toolcalls``, ``prompts`` and ``grammar`` for whoever serves them, ``loop`` for whoever asks them."""
