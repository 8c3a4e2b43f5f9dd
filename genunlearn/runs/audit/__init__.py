"""Runs of audits."""
