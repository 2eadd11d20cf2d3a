"""A run's output as a typed table. From the bottom up: columns (the vocabulary); matching (which row is whose) and the two ways of
flattening a prediction; writer and reader; what stands on these: exports, charts, SQL, evaluation, comparison, drift, annotations."""
