"""Running it and watching it: what happens, told live."""
