"""The Azure ML workspace, by SDK v1. Only here is azureml imported, and only inside functions: it takes seconds.

SDK v1's support by Microsoft ended on 2026-06-30; the service still answers it. What a v2 workspace behind the same seam would take is in
docs/decisions/0002-a-v2-workspace-behind-the-same-seam.md.
"""
