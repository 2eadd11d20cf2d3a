"""What stands for ParallelRunStep's own code on a cluster: a driver, and a process that calls the entry script."""
