"""Signing in to Azure ML: the session, tokens relayed to runners, retries and throttling, the SDK's errors as ours."""
