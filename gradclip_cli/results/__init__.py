"""What there is to say, before how: one kind of result a module, and the columns of its rows."""
