"""How each system says its facts: a TOML file that states only how it differs, plus a named reader."""
