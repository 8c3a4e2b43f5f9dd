"""Pure tensor functions, one equation each."""
