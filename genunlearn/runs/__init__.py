"""From a configuration to a record: unlearn, evaluate, write down."""
