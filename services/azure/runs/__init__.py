"""Runs on Azure ML: the pipeline, the runner that follows it, its artifacts."""
