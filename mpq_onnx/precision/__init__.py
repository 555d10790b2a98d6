"""One idea of precision: items that get a level each, what levels cost, a budget, and methods that spend it."""
