"""The Azure ML workspace: what is the same by either SDK. `sdk.py` says what is asked of one; `sdk_v1` answers, by azureml.

SDK v1's support by Microsoft ended on 2026-06-30; the service still answers it. What a v2 workspace behind the same seam would take is in
docs/decisions/0002-a-v2-workspace-behind-the-same-seam.md.
"""
