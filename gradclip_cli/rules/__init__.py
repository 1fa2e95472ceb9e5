"""From norms to coefficients: one module a rule, each with its equation, options and words."""
