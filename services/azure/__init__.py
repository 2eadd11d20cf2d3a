"""The Azure ML workspace: what is the same by either SDK. `sdk.py` says what is asked of one; `sdk_v1` and `sdk_v2` answer in their words.
Why there are two is in docs/decisions/0002-a-v2-workspace-behind-the-same-seam.md.
"""
