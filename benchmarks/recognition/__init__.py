"""Recognition of real speech: data sets, runs, baselines and the table that benchmarks/recognition.py writes."""
