"""People and programs with tokens of an OpenID Connect provider, beside API keys."""
