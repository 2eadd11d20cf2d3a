"""What a home keeps: the registry, a journal for each run, run folders and who executes them, manifests, mini-batch plans."""
