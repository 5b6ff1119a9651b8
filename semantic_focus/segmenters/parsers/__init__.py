"""Human parsers, on request only: networks that name the parts of a person by themselves."""
