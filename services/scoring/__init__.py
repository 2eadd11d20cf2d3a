"""What a model is, what a dataset is, whether they fit, and which built-in script scores them."""
