"""Azure ML by SDK v1: azureml-core and azureml-pipeline. Only here is azureml imported, and only inside functions: it takes seconds."""
