"""Signing in to Azure ML: the session, a person's tokens on their way to a runner, waiting when Azure is busy, the SDK's errors as ours."""
