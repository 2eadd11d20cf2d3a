"""The local workspace: ParallelRunStep on this machine, with worker processes, retries, timeouts, thresholds and resume."""
