"""What a home stores: the registry, run folders with their journals and the processes that execute them, manifests, mini-batch plans."""
