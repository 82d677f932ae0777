"""An OpenAI-compatible server of registered models, folders, adapters and other such endpoints.

The HTTP process holds no model. ``app`` takes requests, ``catalogue`` says which model a name means now, ``pool`` keeps the
processes of loaded models within a memory budget, ``worker`` is such a process: it drives one decoder for each adapter.
"""
