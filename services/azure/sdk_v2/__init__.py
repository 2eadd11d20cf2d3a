"""Azure ML by SDK v2: azure-ai-ml. Only here is azure.ai.ml imported, and only inside functions: it takes seconds."""
