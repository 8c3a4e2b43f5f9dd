"""A family of models for genunlearn: tables that count which letter follows which."""
