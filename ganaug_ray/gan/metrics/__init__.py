"""How good a generator's samples are: distances, precision, recall, copies, what they teach."""
