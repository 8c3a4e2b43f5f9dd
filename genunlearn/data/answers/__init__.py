"""What an answer says: whether it tells a fact, denies it, or declines."""
