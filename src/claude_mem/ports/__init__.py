"""What the domains need from the outside: protocols and frozen values."""
