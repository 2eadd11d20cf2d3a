"""What Azure ML puts on an entry script's path and no package index carries."""
