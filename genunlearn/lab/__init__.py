"""The embedded default: small real models, trained on this machine from seeds and cached."""
