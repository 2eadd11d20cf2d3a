"""What an Azure ML workspace contains: models, datasets, environments, compute targets and datastores; and their cached lists."""
