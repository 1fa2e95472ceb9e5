"""Pages to show: a result as one HTML file that needs nothing else, and as a part of a notebook."""
