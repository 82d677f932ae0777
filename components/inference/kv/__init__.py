"""KV cache methods: one file a method, over the interface of ``_layer.py``; ``components.inference.kv_cache`` drives them.

``compress(config, layer)`` runs after the prompt, layer by layer; a method that has ``step`` runs after each decoded token
as well; one that has ``storage`` keeps keys and values in a cache layer of its own. ``ratio`` is the share that is removed.
"""
