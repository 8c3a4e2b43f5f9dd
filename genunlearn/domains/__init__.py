"""Model families behind one face: load, collate, per-example loss, generate or sample, save."""
