"""A loopback stand-in of the Azure ML service: the unmodified SDKs v1 and v2 reach it over HTTPS, and it scores submitted runs for real.

Start reading in service.py, from the side of who uses it; then cloud.py, what it supports. `python -m tests.azure_service` starts it by
hand. What it answers follows the deserialisers of azureml-core 1.61 and azureml-pipeline-core 1.62, and, in the folder v2, Microsoft's
REST specifications; no answer of Azure itself was compared, so error texts and rare fields are guesses.
"""

from tests.azure_service.service import AzureService

__all__ = ["AzureService"]
