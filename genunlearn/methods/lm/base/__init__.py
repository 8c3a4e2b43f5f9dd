"""What methods on language models share: no method itself."""
