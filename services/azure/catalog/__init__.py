"""What an Azure ML workspace holds: models, datasets, computes, environments, and what was listed last."""
