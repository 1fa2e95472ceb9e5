"""Results as figures: a function for each kind of result that draws it into Matplotlib axes."""
