"""Probes (raw measurements, made once), metrics (numbers from probes), suites (named lists of metrics)."""
