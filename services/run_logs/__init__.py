"""The logs of a run, searched as one stream of lines: their time, worker, level and mini-batch. The same for every workspace."""
