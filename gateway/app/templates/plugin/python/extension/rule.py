def lets_in(domain: str, email: str) -> bool:
    """Whether an address, which may be empty, is one of the domain's. Where no domain is set, none is."""
    _, at, of = email.rpartition("@")
    return domain != "" and at == "@" and of.lower() == domain.lower()
