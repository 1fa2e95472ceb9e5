"""Why a trainer logged another number: a hypothesis a function, and what fits by mere chance."""
