"""The pictures of a page: each a file with a function that draws a result, or gives None."""
