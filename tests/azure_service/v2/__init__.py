"""What SDK v2 (azure-ai-ml) asks for, one file per noun: the resource manager's own routes. Run history, blobs, sign-in and the process
that carries out a step are v1's. Models, environments, computes and datastores are one list for both; datasets and data assets are two.

Shapes follow Microsoft's REST specifications of Microsoft.MachineLearningServices and the models generated from them in the SDK:
tests/azure/test_stand_in_v2_shapes.py compares. What no specification has (error texts, times of statuses, how a step's run is named)
is a guess.
"""

from tests.azure_service.v2.batch import BatchEndpoints
from tests.azure_service.v2.codes import Codes
from tests.azure_service.v2.components import Components
from tests.azure_service.v2.computes import Computes
from tests.azure_service.v2.data import Data
from tests.azure_service.v2.datastores import Datastores
from tests.azure_service.v2.environments import Environments
from tests.azure_service.v2.jobs import Jobs
from tests.azure_service.v2.models import Models
from tests.azure_service.v2.schedules import Schedules

HANDLERS: dict[str, type] = {
    "v2_batch": BatchEndpoints,
    "v2_codes": Codes,
    "v2_components": Components,
    "v2_computes": Computes,
    "v2_data": Data,
    "v2_datastores": Datastores,
    "v2_environments": Environments,
    "v2_jobs": Jobs,
    "v2_models": Models,
    "v2_schedules": Schedules,
}
"""By the workspace's attribute that holds one."""
