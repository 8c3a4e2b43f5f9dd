"""Runs on federations, and the application that deploys one on Flower."""
