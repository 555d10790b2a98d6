"""How float weights become integers on a given grid; a method is one file and one line in registries.ROUNDINGS."""
