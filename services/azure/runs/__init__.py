"""Runs on Azure ML: the pipeline, the runner that follows it, what a step leaves."""
