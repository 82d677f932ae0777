"""What Chat, Arena and Playground share: the model server, running answers, settings of an answer, and answers on the page."""
