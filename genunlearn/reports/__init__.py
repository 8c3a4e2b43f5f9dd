"""What people read: reports, comparisons and model cards, made from records alone and without torch."""
