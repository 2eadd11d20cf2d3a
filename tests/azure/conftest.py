"""The real SDK on the stand-in, in this process."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest


@pytest.fixture
def ws(azure, tmp_path, monkeypatch) -> Any:
    """The test's own workspace as azureml.core has it. The working folder is an empty one: Model.register takes nothing from elsewhere."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from azureml.core import Workspace
        from azureml.core.authentication import ServicePrincipalAuthentication

        names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        auth = ServicePrincipalAuthentication(*(os.environ[name] for name in names))
        return Workspace.get(
            azure.workspace,
            auth=auth,
            subscription_id=os.environ["AZURE_SUBSCRIPTION_ID"],
            resource_group=os.environ["AZURE_RESOURCE_GROUP"],
        )
