"""The project's own tools: a file is a tool, its name the tool's, ``run`` what is called. None speaks to the network."""
