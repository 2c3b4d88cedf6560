"""One module per verb of the tool. Each reads as the story of what the verb does."""
