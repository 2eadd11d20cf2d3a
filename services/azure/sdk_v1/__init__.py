"""Azure ML by SDK v1, azureml-core and azureml-pipeline: what `services.azure.sdk` asks for, in its words. Only here is azureml imported,
and only inside functions: it takes seconds. Microsoft's support for it ended on 2026-06-30; the service still answers it.
"""
